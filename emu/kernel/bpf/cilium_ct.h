/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Connections as Cilium tracks them (bpf/lib/conntrack.h): an entry for each direction they were made in, and beside it
 * one for the ICMP errors about them. */
#include "cilium_packet.h"

/* Flags of an entry. */
#define RX_CLOSING 1
#define TX_CLOSING 2
#define SEEN_NON_SYN 0x10
#define FROM_TUNNEL 0x400

#define TCP_S 8000
#define OTHER_S 60
#define SYN_S 60
#define CLOSE_S 10
#define REPORT_S 5

static __always_inline int alive(const struct tracked *entry)
{
	return (entry->flags & (RX_CLOSING | TX_CLOSING)) != (RX_CLOSING | TX_CLOSING);
}

static __always_inline void prolong(struct tracked *entry, __u32 lifetime, __u8 way, __u8 tcp)
{
	__u8 *seen = way == IN ? &entry->rx_flags_seen : &entry->tx_flags_seen;
	__u32 *report = way == IN ? &entry->last_rx_report : &entry->last_tx_report;
	__u32 now = bpf_ktime_get_ns() / 1000000000;

	entry->lifetime = now + lifetime;
	if (*report + REPORT_S < now || *seen != (*seen | tcp)) {
		*seen |= tcp;
		*report = now;
	}
}

static __always_inline void update(struct tracked *entry, __u8 proto, __u8 way, __u8 tcp)
{
	if (proto != IPPROTO_TCP) {
		prolong(entry, OTHER_S, way, 0);
		return;
	}
	if (!(tcp & SYN))
		entry->flags |= SEEN_NON_SYN;
	prolong(entry, entry->flags & SEEN_NON_SYN ? TCP_S : SYN_S, way, tcp);
}

/* A packet of it. False if it is over, and the packet opens another. */
static __always_inline int goes_on(struct tracked *entry, __u8 proto, __u8 way, __u8 tcp, __u32 bytes)
{
	if (alive(entry))
		update(entry, proto, way, tcp);
	__sync_fetch_and_add(&entry->packets, 1);
	__sync_fetch_and_add(&entry->bytes, bytes);
	if ((tcp & (SYN | ACK | FIN | RST)) == SYN)
		return !(entry->flags & (RX_CLOSING | TX_CLOSING));
	if (tcp & (FIN | RST)) {
		if (tcp & RST && !(entry->rx_flags_seen & entry->tx_flags_seen & SYN))
			entry->flags |= RX_CLOSING | TX_CLOSING;
		else
			entry->flags |= way == IN ? RX_CLOSING : TX_CLOSING;
		if (!alive(entry))
			prolong(entry, CLOSE_S, way, tcp);
	}
	return 1;
}

/* A packet on its way to a Pod (IN) or from one (OUT); `marks` are the flags of the entry, if it is the first. Of ICMP,
 * the identifier is the port of whoever asks, and errors have none. */
static __always_inline void track(struct __sk_buff *skb, const struct headers *at, const struct flow *flow, __u8 way,
				  __u32 sec_id, __u16 marks)
{
	struct tuple key = { .src = flow->src, .dst = flow->dst, .sport = flow->sport, .dport = flow->dport,
			     .proto = flow->proto, .flags = way };
	struct tracked new = { .flags = marks, .src_sec_id = sec_id }, *known;
	__u32 offset = transport(at);
	struct tuple back;
	__u8 first = 0;

	if (key.proto == IPPROTO_ICMP && !bpf_skb_load_bytes(skb, offset, &first, 1)) {
		if (first == ECHO)
			key.dport = 0;
		else if (first == ECHO_REPLY)
			key.sport = 0;
		else
			key.flags |= RELATED;
		first = 0;
	} else if (key.proto == IPPROTO_TCP) {
		bpf_skb_load_bytes(skb, offset + 13, &first, 1);
	}
	back = (struct tuple){ .src = key.dst, .dst = key.src, .sport = key.dport, .dport = key.sport,
			       .proto = key.proto, .flags = key.flags ^ IN };
	known = bpf_map_lookup_elem(&cilium_ct4_global, &back);
	if (known && goes_on(known, key.proto, way, first, skb->len))
		return;
	known = bpf_map_lookup_elem(&cilium_ct4_global, &key);
	if (known && goes_on(known, key.proto, way, first, skb->len))
		return;
	update(&new, key.proto, way, SYN);
	key.flags |= RELATED;
	back = (struct tuple){ .src = key.src, .dst = key.dst, .proto = IPPROTO_ICMP, .flags = key.flags };
	bpf_map_update_elem(&cilium_ct4_global, &back, &new, BPF_ANY);
	if (key.proto == IPPROTO_ICMP && !key.sport && !key.dport)
		return; /* an error, which is all */
	key.flags ^= RELATED;
	new.packets = 1;
	new.bytes = skb->len;
	bpf_map_update_elem(&cilium_ct4_global, &key, &new, BPF_ANY);
}

/* Of a connection that was made to a Pod. */
static __always_inline int answers(const struct flow *flow)
{
	struct tuple made = { .src = flow->dst, .dst = flow->src, .sport = flow->dport, .dport = flow->sport,
			      .proto = flow->proto, .flags = IN };

	if (flow->proto == IPPROTO_ICMP)
		made.dport = 0;
	return bpf_map_lookup_elem(&cilium_ct4_global, &made) != 0;
}
