// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Services at the socket, as Cilium's: an address that is a Service's becomes a backend's in connect() and sendmsg(), and
 * the Service's again in recvmsg() and getpeername(). No packet ever has it.
 *
 * The programs are attached to the cgroup the testbed runs in, which others may run in too: they return at once unless
 * the socket is of a namespace of the lab. There is one set for all Nodes, so keys begin with the Node's number.
 */
#include <linux/in.h>

#include "cilium.h"

#define EHOSTUNREACH 113
#define NOBODY (-EHOSTUNREACH)
#define GO 1
#define REFUSE 0

struct service_key {
	__u32 node;
	__be32 address;
	__be16 port;
	__u16 slot; /* 0: the Service itself; from 1 on: its backends */
	__u8 proto, pad[3];
};

struct service {
	__u32 backend_id; /* in slot 0: for how many seconds a client keeps its backend */
	__u16 count, rev_nat_index;
};

struct backend_key {
	__u32 node, id;
};

struct backend {
	__be32 address;
	__be16 port;
	__u8 proto, pad;
};

struct named {
	__be32 address;
	__be16 port;
	__u16 rev_nat_index;
};

struct taken {
	__u64 socket;
	__be32 address; /* the backend's */
	__be16 port;
	__u16 pad;
};

struct client {
	__u64 netns;
	__u32 rev_nat_index;
	__u32 pad;
};

struct kept {
	__u64 since;
	__u32 backend_id, pad;
};

/* Which Node a namespace is of: its own, or a Pod's there. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65535);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u32);
} netns_nodes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 20);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct service_key);
	__type(value, struct service);
} cilium_lb4_services_v2 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 20);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct backend_key);
	__type(value, struct backend);
} cilium_lb4_backends_v3 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct taken);
	__type(value, struct named);
} cilium_lb4_reverse_sk SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct client);
	__type(value, struct kept);
} cilium_lb4_affinity SEC(".maps");

static __always_inline const struct backend *backend_of(__u32 node, __u32 id, struct backend_key *key)
{
	*key = (struct backend_key){ .node = node, .id = id };
	return bpf_map_lookup_elem(&cilium_lb4_backends_v3, key);
}

/* The one the client has had, while it is there; else any. 0 for none. */
static __always_inline __u32 choose(struct service_key *key, const struct service *service, __u64 netns)
{
	struct client client = { .netns = netns, .rev_nat_index = service->rev_nat_index };
	__u64 now = bpf_ktime_get_ns(), limit = service->backend_id * 1000000000ULL;
	struct backend_key known;
	struct service *chosen;
	struct kept *kept, new = { .since = now };

	if (limit) {
		kept = bpf_map_lookup_elem(&cilium_lb4_affinity, &client);
		if (kept && now - kept->since < limit && backend_of(key->node, kept->backend_id, &known)) {
			kept->since = now;
			return kept->backend_id;
		}
	}
	key->slot = bpf_get_prandom_u32() % service->count + 1;
	chosen = bpf_map_lookup_elem(&cilium_lb4_services_v2, key);
	if (!chosen)
		return 0;
	new.backend_id = chosen->backend_id;
	if (limit)
		bpf_map_update_elem(&cilium_lb4_affinity, &client, &new, BPF_ANY);
	return chosen->backend_id;
}

static __always_inline int forward(struct bpf_sock_addr *ctx, const char *program, __u32 bytes)
{
	__u64 netns = bpf_get_netns_cookie(ctx);
	__u32 *node = bpf_map_lookup_elem(&netns_nodes, &netns);
	const struct backend *backend;
	struct backend_key id;
	struct service *service;
	struct service_key key = {};
	struct flow flow = {};

	if (!node || (ctx->protocol != IPPROTO_TCP && ctx->protocol != IPPROTO_UDP))
		return GO;
	key.node = *node;
	key.address = ctx->user_ip4;
	key.port = ctx->user_port;
	key.proto = ctx->protocol;
	service = bpf_map_lookup_elem(&cilium_lb4_services_v2, &key);
	if (!service)
		return GO;
	flow.netns = netns;
	flow.dst = key.address;
	flow.dport = key.port;
	flow.proto = key.proto;
	if (ctx->sk)
		flow.sport = bpf_htons(ctx->sk->src_port);
	told(&flow, program, bytes, "cilium_lb4_services_v2", sizeof("cilium_lb4_services_v2"), &key, sizeof(key),
	     service, sizeof(*service));
	backend = service->count ? backend_of(key.node, choose(&key, service, netns), &id) : 0;
	if (!backend) {
		bpf_set_retval(NOBODY);
		return REFUSE;
	}
	told(&flow, program, bytes, "cilium_lb4_backends_v3", sizeof("cilium_lb4_backends_v3"), &id, sizeof(id), backend,
	     sizeof(*backend));
	struct taken taken = { .socket = bpf_get_socket_cookie(ctx), .address = backend->address,
			       .port = backend->port };
	struct named named = { .address = key.address, .port = key.port, .rev_nat_index = service->rev_nat_index };
	bpf_map_update_elem(&cilium_lb4_reverse_sk, &taken, &named, BPF_ANY);
	ctx->user_ip4 = backend->address;
	ctx->user_port = backend->port;
	return GO;
}

static __always_inline int back(struct bpf_sock_addr *ctx)
{
	__u64 netns = bpf_get_netns_cookie(ctx);
	struct taken taken = { .address = ctx->user_ip4, .port = ctx->user_port };
	struct named *named;

	if (!bpf_map_lookup_elem(&netns_nodes, &netns))
		return GO;
	taken.socket = bpf_get_socket_cookie(ctx);
	named = bpf_map_lookup_elem(&cilium_lb4_reverse_sk, &taken);
	if (named) {
		ctx->user_ip4 = named->address;
		ctx->user_port = named->port;
	}
	return GO;
}

SEC("cgroup/connect4")
int cil_sock4_connect(struct bpf_sock_addr *ctx)
{
	return forward(ctx, "cil_sock4_connect", sizeof("cil_sock4_connect"));
}

SEC("cgroup/sendmsg4")
int cil_sock4_sendmsg(struct bpf_sock_addr *ctx)
{
	return forward(ctx, "cil_sock4_sendmsg", sizeof("cil_sock4_sendmsg"));
}

SEC("cgroup/recvmsg4")
int cil_sock4_recvmsg(struct bpf_sock_addr *ctx)
{
	return back(ctx);
}

SEC("cgroup/getpeername4")
int cil_sock4_getpeername(struct bpf_sock_addr *ctx)
{
	return back(ctx);
}

char _license[] SEC("license") = "Dual MIT/GPL";
