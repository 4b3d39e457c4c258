/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Reading packets, and masquerading them. */
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>

#include "cilium_maps.h"

#define TCP_SUM 16 /* where the checksum lies */
#define UDP_SUM 6

struct headers {
	struct ethhdr mac;
	struct iphdr ip;
} __attribute__((packed));

static __always_inline const struct config *configured(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&cilium_config, &key);
}

static __always_inline void *start(struct __sk_buff *skb, __u32 bytes)
{
	void *first = (void *)(long)skb->data;

	return first + bytes > (void *)(long)skb->data_end ? 0 : first;
}

/* The first bytes, made linear if they are not; 0 if there are not so many. */
static __always_inline struct headers *ipv4(struct __sk_buff *skb)
{
	if (skb->protocol != bpf_htons(ETH_P_IP))
		return 0;
	bpf_skb_pull_data(skb, sizeof(struct headers));
	return start(skb, sizeof(struct headers));
}

static __always_inline __u32 transport(const struct headers *at)
{
	return ETH_HLEN + at->ip.ihl * 4;
}

/* Addresses and ports; an ICMP echo's identifier stands in both ports. False for what has none, and for fragments. */
static __always_inline int flow_of(struct __sk_buff *skb, const struct headers *at, struct flow *flow)
{
	struct echo icmp;
	__u32 offset = transport(at);

	*flow = (struct flow){ .ifindex = skb->ifindex, .src = at->ip.saddr, .dst = at->ip.daddr,
			       .proto = at->ip.protocol };
	if (at->ip.frag_off & bpf_htons(FRAGMENT))
		return 0;
	if (flow->proto == IPPROTO_TCP || flow->proto == IPPROTO_UDP)
		return !bpf_skb_load_bytes(skb, offset, &flow->sport, 4);
	if (flow->proto != IPPROTO_ICMP || bpf_skb_load_bytes(skb, offset, &icmp, sizeof(icmp)))
		return 0;
	if (icmp.type != ECHO && icmp.type != ECHO_REPLY)
		return 0;
	flow->sport = flow->dport = icmp.id;
	return 1;
}

/* Address and port of one side of a packet, and what is summed over them. */
static __always_inline int rewrite(struct __sk_buff *skb, const struct flow *flow, __u32 offset, int source,
				   const struct translation *to)
{
	__be32 old_ip = source ? flow->src : flow->dst;
	__be16 old_port = source ? flow->sport : flow->dport;
	__u32 at_ip = ETH_HLEN + (source ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr));
	__u32 at_port = offset + (source ? 0 : 2), at_sum = offset + TCP_SUM, how = ADDRESSES;

	if (flow->proto == IPPROTO_UDP) {
		at_sum = offset + UDP_SUM;
		how |= BPF_F_MARK_MANGLED_0;
	}
	if (flow->proto == IPPROTO_ICMP) {
		at_port = offset + offsetof(struct echo, id);
		at_sum = offset + offsetof(struct echo, checksum);
	} else if (bpf_l4_csum_replace(skb, at_sum, old_ip, to->to_ip, how | 4)) {
		return TC_ACT_SHOT;
	}
	if (bpf_l4_csum_replace(skb, at_sum, old_port, to->to_port, (how & ~ADDRESSES) | 2) ||
	    bpf_skb_store_bytes(skb, at_port, &to->to_port, 2, 0) ||
	    bpf_l3_csum_replace(skb, ETH_HLEN + offsetof(struct iphdr, check), old_ip, to->to_ip, 4) ||
	    bpf_skb_store_bytes(skb, at_ip, &to->to_ip, 4, 0))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

/* A port that nobody else has towards the same end: the sender's own, if it is high enough. */
static __always_inline int allot(const struct flow *flow, const struct config *own, struct translation *to)
{
	struct translation back = { .to_ip = flow->src, .to_port = flow->sport };
	struct tuple answer = { .src = flow->dst, .dst = own->node, .sport = flow->dport, .dport = flow->sport,
				.proto = flow->proto, .flags = IN };

	for (int tries = 0; tries < 16; tries++) {
		if (tries || bpf_ntohs(answer.dport) < FIRST_PORT)
			answer.dport = bpf_htons(FIRST_PORT | (bpf_get_prandom_u32() & 0x7fff));
		if (flow->proto == IPPROTO_ICMP)
			answer.sport = answer.dport;
		if (!bpf_map_update_elem(&cilium_snat_v4, &answer, &back, BPF_NOEXIST)) {
			*to = (struct translation){ .to_ip = own->node, .to_port = answer.dport };
			return 1;
		}
	}
	return 0;
}

/* The answer that would have come instead of an ICMP error, by the packet that the error tells of. False for what is
 * none. */
static __always_inline int about(struct __sk_buff *skb, const struct headers *at, struct tuple *answer)
{
	__u32 offset = transport(at);
	struct iphdr inner;
	__be16 ports[2];
	struct echo icmp;

	if (at->ip.protocol != IPPROTO_ICMP || at->ip.frag_off & bpf_htons(FRAGMENT) ||
	    bpf_skb_load_bytes(skb, offset, &icmp, sizeof(icmp)) ||
	    (icmp.type != UNREACHABLE && icmp.type != TIME_EXCEEDED) ||
	    bpf_skb_load_bytes(skb, offset + sizeof(icmp), &inner, sizeof(inner)) ||
	    inner.frag_off & bpf_htons(FRAGMENT & ~MORE))
		return 0;
	offset += sizeof(icmp) + inner.ihl * 4;
	if (inner.protocol == IPPROTO_ICMP) {
		if (bpf_skb_load_bytes(skb, offset, &icmp, sizeof(icmp)) || icmp.type != ECHO)
			return 0;
		ports[0] = ports[1] = icmp.id;
	} else if ((inner.protocol != IPPROTO_TCP && inner.protocol != IPPROTO_UDP) ||
		   bpf_skb_load_bytes(skb, offset, ports, sizeof(ports))) {
		return 0;
	}
	*answer = (struct tuple){ .src = inner.daddr, .dst = inner.saddr, .sport = ports[1], .dport = ports[0],
				  .proto = inner.protocol, .flags = IN };
	return 1;
}

/* An error about a masqueraded packet, as if none had been: the packet in it has its sender's address and port again.
 * What changes in there and what changes in the checksums in there cancel out, but for what these leave out or take in
 * beyond it: the port where there is no checksum, the address as a part of TCP's and UDP's. */
static __always_inline int rewrite_error(struct __sk_buff *skb, const struct headers *at, const struct tuple *answer,
					 const struct translation *to)
{
	__u32 error = transport(at), inner = error + sizeof(struct echo), offset, at_sum, sum_at_error = error + 2;
	__be32 old_ip = answer->dst, new_ip = to->to_ip;
	__be16 old_port = answer->dport, new_port = to->to_port, sum = 0;
	__u32 how = answer->proto == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	__u8 length;

	if (bpf_skb_load_bytes(skb, inner, &length, 1))
		return TC_ACT_SHOT;
	offset = inner + (length & 15) * 4;
	at_sum = offset + (answer->proto == IPPROTO_TCP ? TCP_SUM : answer->proto == IPPROTO_UDP ? UDP_SUM : 2);
	if (answer->proto == IPPROTO_ICMP) {
		if (bpf_l4_csum_replace(skb, at_sum, old_port, new_port, 2) ||
		    bpf_skb_store_bytes(skb, offset + offsetof(struct echo, id), &new_port, 2, 0))
			return TC_ACT_SHOT;
	} else {
		bpf_skb_load_bytes(skb, at_sum, &sum, 2); /* 0 as well where the error has not so much of the packet */
		if (sum ? bpf_l4_csum_replace(skb, at_sum, old_ip, new_ip, how | 4) ||
				  bpf_l4_csum_replace(skb, at_sum, old_port, new_port, how | 2) ||
				  bpf_l4_csum_replace(skb, sum_at_error, new_ip, old_ip, 4) :
			  bpf_l4_csum_replace(skb, sum_at_error, old_port, new_port, 2))
			return TC_ACT_SHOT;
		if (bpf_skb_store_bytes(skb, offset, &new_port, 2, 0))
			return TC_ACT_SHOT;
	}
	if (bpf_l3_csum_replace(skb, inner + offsetof(struct iphdr, check), old_ip, new_ip, 4) ||
	    bpf_skb_store_bytes(skb, inner + offsetof(struct iphdr, saddr), &new_ip, 4, 0) ||
	    bpf_l3_csum_replace(skb, ETH_HLEN + offsetof(struct iphdr, check), old_ip, new_ip, 4) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct iphdr, daddr), &new_ip, 4, 0))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}
