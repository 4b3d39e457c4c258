// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* What the kernel's ipip module does for `tunl0`, for kernels without it: the same bytes on the wire, the same outer
 * header, the gateway of the route as the outer destination. Here `tunl0` is a TUN device that nobody reads.
 *
 *   ipip_encap  at tc egress of tunl0: puts the outer header on and sends the packet through the uplink
 *   ipip_decap  at tc ingress of the uplink: takes it off and lets the packet come in through tunl0
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define SHOWN 0x7475 /* in tc_index: this one has been given to the device, for packet sockets to see */
#define FRAGMENT 0x3fff /* more fragments, or an offset */
#define DF 0x4000
#define ECN 3
#define ECT0 2

/* Written once, before anything is attached. */
struct config {
	__u32 tunnel; /* index of tunl0 */
	__u32 uplink; /* index of the Node's eth0 */
	__be32 local; /* the Node's address: outer source of what goes, outer destination of what comes */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct config);
} config SEC(".maps");

static __always_inline const struct config *configured(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&config, &key);
}

/* The first bytes of the packet, 0 if it has not so many. What is not linear is made so. */
static __always_inline void *header(struct __sk_buff *skb, __u32 bytes)
{
	void *start;

	bpf_skb_pull_data(skb, bytes);
	start = (void *)(long)skb->data;
	return start + bytes > (void *)(long)skb->data_end ? 0 : start;
}

static __always_inline __u16 checksum(struct iphdr *ip)
{
	__u64 sum = bpf_csum_diff(0, 0, (__be32 *)ip, sizeof(*ip), 0);

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* The gateway of the route by tunl0, as the module takes it (rt_nexthop); the destination itself where there is none. */
static __always_inline __be32 next_hop(struct __sk_buff *skb, const struct iphdr *inner, __u32 tunnel)
{
	struct bpf_fib_lookup asked = {
		.family = AF_INET,
		.l4_protocol = inner->protocol,
		.tos = inner->tos,
		.ipv4_src = inner->saddr,
		.ipv4_dst = inner->daddr,
		.ifindex = tunnel,
	};
	long found = bpf_fib_lookup(skb, &asked, sizeof(asked), BPF_FIB_LOOKUP_OUTPUT);

	/* tunl0 asks for no MAC, so whether a neighbor is known is of no interest. */
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return 0;
	return asked.ipv4_dst;
}

SEC("tc")
int ipip_encap(struct __sk_buff *skb)
{
	const struct config *own = configured();
	struct iphdr inner, outer = {};
	struct ethhdr *mac;

	if (skb->tc_index == SHOWN)
		return TC_ACT_OK;
	/* Copied out: without a MAC header in front it counts as misaligned, where the verifier is strict about that. */
	if (!own || skb->protocol != bpf_htons(ETH_P_IP) || bpf_skb_load_bytes(skb, 0, &inner, sizeof(inner)))
		return TC_ACT_SHOT;
	outer.version = 4;
	outer.ihl = sizeof(outer) / 4;
	outer.tos = (inner.tos & ECN) == ECN ? ECT0 : inner.tos & ECN; /* RFC 3168, 9.1.1 */
	outer.tot_len = bpf_htons(bpf_ntohs(inner.tot_len) + sizeof(outer));
	outer.id = bpf_get_prandom_u32();
	outer.frag_off = inner.frag_off & bpf_htons(DF);
	outer.ttl = inner.ttl;
	outer.protocol = IPPROTO_IPIP;
	outer.saddr = own->local;
	outer.daddr = next_hop(skb, &inner, own->tunnel);
	if (!outer.daddr)
		return TC_ACT_SHOT;
	outer.check = checksum(&outer);

	/* Redirecting wants a MAC header; the neighbor code writes it. */
	if (bpf_skb_change_head(skb, ETH_HLEN, 0) || !(mac = header(skb, sizeof(*mac))))
		return TC_ACT_SHOT;
	mac->h_proto = bpf_htons(ETH_P_IP);

	/* Packet sockets see a packet when it is given to its device, behind tc: give the device a copy. */
	skb->tc_index = SHOWN;
	bpf_clone_redirect(skb, own->tunnel, 0);
	skb->tc_index = 0;

	/* The segments of TCP are cut for tunl0's MTU, which leaves room for the header: their size stays. */
	if (bpf_skb_adjust_room(skb, sizeof(outer), BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_FIXED_GSO) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN, &outer, sizeof(outer), 0))
		return TC_ACT_SHOT;
	return bpf_redirect_neigh(own->uplink, 0, 0, 0);
}

SEC("tc")
int ipip_decap(struct __sk_buff *skb)
{
	const struct config *own = configured();
	struct {
		struct ethhdr mac;
		struct iphdr ip;
	} __attribute__((packed)) * outer;
	__u8 congested;

	if (!own || skb->protocol != bpf_htons(ETH_P_IP) || !(outer = header(skb, sizeof(*outer))))
		return TC_ACT_UNSPEC;
	if (outer->ip.protocol != IPPROTO_IPIP || outer->ip.daddr != own->local ||
	    outer->ip.ihl != sizeof(outer->ip) / 4 || outer->ip.frag_off & bpf_htons(FRAGMENT))
		return TC_ACT_UNSPEC;
	congested = (outer->ip.tos & ECN) == ECN;
	if (bpf_skb_adjust_room(skb, -(__s32)sizeof(outer->ip), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return TC_ACT_SHOT;
	if (congested && !bpf_skb_ecn_set_ce(skb)) /* said to one who does not understand it: RFC 6040, 4.2 */
		return TC_ACT_SHOT;
	return bpf_redirect(own->tunnel, BPF_F_INGRESS);
}

char _license[] SEC("license") = "Dual MIT/GPL";
