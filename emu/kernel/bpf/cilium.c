// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A Node's datapath as Cilium's, with BPF host routing and BPF masquerading, IPv4 without policies:
 *
 *   cil_from_container  tc ingress of lxc…         what a Pod sends: to a Pod of this Node, into the tunnel, to the Node, out
 *   cil_from_host       tc egress of cilium_host   what the Node's own stack sends to Pods
 *   cil_from_overlay    tc ingress of cilium_vxlan what comes out of the tunnel
 *   cil_to_overlay      tc egress of cilium_vxlan  what goes into it
 *   cil_from_netdev     tc ingress of eth0         answers to masqueraded Pods; Pods' packets without a tunnel
 *   cil_to_netdev       tc egress of eth0          masquerades Pods that leave the cluster
 */
#include "cilium_ct.h"

/* A step of routing: the TTL, and the MACs that are given. False when the TTL has run out. */
static __always_inline int routed(struct __sk_buff *skb, const __u8 *from, const __u8 *to)
{
	struct headers *at = start(skb, sizeof(*at));
	__u32 sum;

	if (!at || at->ip.ttl <= 1)
		return 0;
	sum = at->ip.check + bpf_htons(0x0100);
	at->ip.check = sum + (sum >= 0xffff);
	at->ip.ttl--;
	if (from)
		copy(at->mac.h_source, from, ETH_ALEN);
	if (to)
		copy(at->mac.h_dest, to, ETH_ALEN);
	return 1;
}

static __always_inline struct remote *lookup(__be32 ip)
{
	struct prefix key = { .bits = 32, .ip = ip };

	return bpf_map_lookup_elem(&cilium_ipcache, &key);
}

/* To a Pod of this Node: through its link, or, where nothing between may look, straight into its end of it. */
static __always_inline int deliver(struct __sk_buff *skb, const struct endpoint *to, int by_peer)
{
	if (!routed(skb, to->node_mac, to->mac))
		return TC_ACT_SHOT;
	return by_peer ? bpf_redirect_peer(to->ifindex, 0) : bpf_redirect(to->ifindex, 0);
}

static __always_inline int encap(struct __sk_buff *skb, const struct config *own, __be32 to, __u32 sec_id)
{
	struct bpf_tunnel_key key = { .tunnel_id = sec_id, .remote_ipv4 = bpf_ntohl(to), .tunnel_ttl = TTL };

	if (!own->overlay || bpf_skb_set_tunnel_key(skb, &key, sizeof(key), BPF_F_ZERO_CSUM_TX))
		return TC_ACT_SHOT;
	return bpf_redirect(own->overlay, 0);
}

/* As the Node's routing table says, past its stack. */
static __always_inline int route_out(struct __sk_buff *skb, const struct flow *flow)
{
	struct bpf_fib_lookup asked = { .family = AF_INET, .ifindex = skb->ifindex, .ipv4_src = flow->src,
					.ipv4_dst = flow->dst };
	struct bpf_redir_neigh next = { .nh_family = AF_INET };
	long found = bpf_fib_lookup(skb, &asked, sizeof(asked), 0);

	if ((found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH) || !routed(skb, 0, 0))
		return TC_ACT_SHOT;
	next.ipv4_nh = asked.ipv4_dst;
	return bpf_redirect_neigh(asked.ifindex, &next, sizeof(next), 0);
}

/* For whatever address a Pod asks, but its own: the MAC of its lxc… */
static __always_inline int answer_arp(struct __sk_buff *skb)
{
	struct {
		struct ethhdr mac;
		struct arp arp;
	} __attribute__((packed)) * at;
	struct endpoint *pod;
	__be32 asking, wanted;

	bpf_skb_pull_data(skb, sizeof(*at));
	at = start(skb, sizeof(*at));
	if (!at || at->arp.operation != bpf_htons(ARP_REQUEST))
		return TC_ACT_OK;
	copy(&asking, at->arp.sender_ip, 4);
	copy(&wanted, at->arp.target_ip, 4);
	pod = bpf_map_lookup_elem(&cilium_lxc, &asking);
	if (!pod || wanted == asking)
		return TC_ACT_OK;
	at->arp.operation = bpf_htons(ARP_REPLY);
	copy(at->mac.h_dest, at->arp.sender, ETH_ALEN);
	copy(at->mac.h_source, pod->node_mac, ETH_ALEN);
	copy(at->arp.target, at->arp.sender, ETH_ALEN);
	copy(at->arp.target_ip, &asking, 4);
	copy(at->arp.sender, pod->node_mac, ETH_ALEN);
	copy(at->arp.sender_ip, &wanted, 4);
	return bpf_redirect(skb->ifindex, 0);
}

SEC("tc")
int cil_from_container(struct __sk_buff *skb)
{
	const struct config *own = configured();
	struct endpoint *from, *to;
	struct remote *remote;
	struct headers *at;
	struct flow flow;

	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return answer_arp(skb);
	if (!own || !(at = ipv4(skb)))
		return TC_ACT_SHOT;
	flow_of(skb, at, &flow);
	from = bpf_map_lookup_elem(&cilium_lxc, &flow.src);
	if (!from || from->ifindex != skb->ifindex)
		return TC_ACT_SHOT; /* not its own address */
	track(skb, at, &flow, OUT, from->sec_id, 0);

	to = bpf_map_lookup_elem(&cilium_lxc, &flow.dst);
	if (to) {
		TELL(&flow, "cil_from_container", "cilium_lxc", &flow.dst, to);
		if (!(to->flags & HOST_DELIVERY)) {
			track(skb, at, &flow, IN, from->sec_id, 0);
			return deliver(skb, to, 1);
		}
		skb->mark = MARK_IDENTITY | from->sec_id << 16;
		return routed(skb, 0, from->node_mac) ? TC_ACT_OK : TC_ACT_SHOT;
	}
	remote = lookup(flow.dst);
	if (!remote)
		return TC_ACT_SHOT;
	TELL(&flow, "cil_from_container", "cilium_ipcache", &flow.dst, remote);
	if (remote->tunnel_endpoint)
		return encap(skb, own, remote->tunnel_endpoint, from->sec_id);
	return route_out(skb, &flow);
}

SEC("tc")
int cil_from_host(struct __sk_buff *skb)
{
	const struct config *own = configured();
	struct headers *at = ipv4(skb);
	struct endpoint *to;
	struct remote *remote;
	struct flow flow;

	if (!own || !at)
		return TC_ACT_OK;
	flow_of(skb, at, &flow);
	to = bpf_map_lookup_elem(&cilium_lxc, &flow.dst);
	if (to && !(to->flags & HOST_DELIVERY)) {
		track(skb, at, &flow, IN, HOST_ID, 0);
		TELL(&flow, "cil_from_host", "cilium_lxc", &flow.dst, to);
		return deliver(skb, to, 0);
	}
	remote = lookup(flow.dst);
	if (!remote || remote->sec_identity == WORLD_ID)
		return TC_ACT_SHOT; /* no Pod has it */
	TELL(&flow, "cil_from_host", "cilium_ipcache", &flow.dst, remote);
	if (remote->tunnel_endpoint)
		return encap(skb, own, remote->tunnel_endpoint, REMOTE_NODE_ID);
	return TC_ACT_OK;
}

SEC("tc")
int cil_from_overlay(struct __sk_buff *skb)
{
	const struct config *own = configured();
	struct headers *at = ipv4(skb);
	struct bpf_tunnel_key key = {};
	struct endpoint *to;
	struct flow flow;

	if (!own || !at || bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0))
		return TC_ACT_SHOT;
	flow_of(skb, at, &flow);
	to = bpf_map_lookup_elem(&cilium_lxc, &flow.dst);
	if (!to)
		return TC_ACT_SHOT;
	TELL(&flow, "cil_from_overlay", "cilium_lxc", &flow.dst, to);
	if (to->flags & HOST_DELIVERY)
		return routed(skb, own->overlay_mac, own->host_mac) ? bpf_redirect(own->host, BPF_F_INGRESS) :
								       TC_ACT_SHOT;
	track(skb, at, &flow, IN, key.tunnel_id, FROM_TUNNEL);
	bpf_skb_change_type(skb, PACKET_HOST); /* its MAC is that of a link of another Node */
	return deliver(skb, to, 1);
}

SEC("tc")
int cil_to_overlay(struct __sk_buff *skb)
{
	skb->mark = MARK_OVERLAY;
	return TC_ACT_OK;
}

SEC("tc")
int cil_to_netdev(struct __sk_buff *skb)
{
	const struct config *own = configured();
	struct headers *at = ipv4(skb);
	struct translation new, *to;
	struct endpoint *from;
	struct remote *remote;
	struct flow flow;
	__u32 offset;

	if (!own || !at || (at->ip.daddr & own->native_mask) == own->native)
		return TC_ACT_OK;
	if (!flow_of(skb, at, &flow))
		return TC_ACT_OK;
	from = bpf_map_lookup_elem(&cilium_lxc, &flow.src);
	if (!from || from->flags & HOST_DELIVERY || answers(&flow))
		return TC_ACT_OK;
	remote = lookup(flow.dst);
	if (!own->overlay && remote && remote->sec_identity == REMOTE_NODE_ID)
		return TC_ACT_OK; /* Nodes know where Pods are, if there is no tunnel */
	offset = transport(at);
	struct tuple key = { .src = flow.src, .dst = flow.dst, .sport = flow.sport, .dport = flow.dport,
			     .proto = flow.proto, .flags = OUT };
	to = bpf_map_lookup_elem(&cilium_snat_v4, &key);
	if (!to) {
		if (!allot(&flow, own, &new))
			return TC_ACT_SHOT;
		bpf_map_update_elem(&cilium_snat_v4, &key, &new, BPF_ANY);
		to = &new;
	}
	TELL(&flow, "cil_to_netdev", "cilium_snat_v4", &key, to);
	return rewrite(skb, &flow, offset, 1, to);
}

SEC("tc")
int cil_from_netdev(struct __sk_buff *skb)
{
	const struct config *own = configured();
	struct headers *at = ipv4(skb);
	struct translation *to;
	struct endpoint *pod;
	struct tuple key;
	struct flow flow;

	if (!own || !at)
		return TC_ACT_OK;
	if (flow_of(skb, at, &flow) && flow.dst == own->node) {
		key = (struct tuple){ .src = flow.src, .dst = flow.dst, .sport = flow.sport, .dport = flow.dport,
				      .proto = flow.proto, .flags = IN };
		to = bpf_map_lookup_elem(&cilium_snat_v4, &key);
		if (to) {
			TELL(&flow, "cil_from_netdev", "cilium_snat_v4", &key, to);
			if (rewrite(skb, &flow, transport(at), 0, to) != TC_ACT_OK)
				return TC_ACT_SHOT;
			flow.dst = to->to_ip;
			flow.dport = to->to_port;
		}
	} else if (flow.dst == own->node && about(skb, at, &key)) {
		to = bpf_map_lookup_elem(&cilium_snat_v4, &key);
		if (to) {
			TELL(&flow, "cil_from_netdev", "cilium_snat_v4", &key, to);
			if (rewrite_error(skb, at, &key, to) != TC_ACT_OK)
				return TC_ACT_SHOT;
			flow.dst = to->to_ip;
		}
	}
	pod = bpf_map_lookup_elem(&cilium_lxc, &flow.dst);
	if (!pod || pod->flags & HOST_DELIVERY || !(at = ipv4(skb)))
		return TC_ACT_OK;
	track(skb, at, &flow, IN, WORLD_ID, 0);
	TELL(&flow, "cil_from_netdev", "cilium_lxc", &flow.dst, pod);
	return deliver(skb, pod, 1);
}

char _license[] SEC("license") = "Dual MIT/GPL";
