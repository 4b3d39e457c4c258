/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What the programs of the Cilium datapath tell of each decision: program, map, key and value, in a ring buffer that is
 * written to only while somebody follows a flow. */
#include <linux/bpf.h>
#include <linux/in.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ROOM (1 << 18)
#define copy __builtin_memcpy

struct flow {
	__u64 netns; /* cookie; 0 of a packet, which is told by its link */
	__u32 ifindex;
	__be32 src, dst;
	__be16 sport, dport; /* of an ICMP echo, the identifier twice */
	__u8 proto;
};

struct event {
	struct flow flow;
	__u8 key_bytes, value_bytes;
	char program[24], map[32];
	__u8 key[24], value[40];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, ROOM);
} events SEC(".maps");

/* Entry 0: whether somebody follows. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} monitored SEC(".maps");

static __always_inline void told(const struct flow *flow, const char *program, __u32 program_bytes, const char *map,
				 __u32 map_bytes, const void *key, __u32 key_bytes, const void *value,
				 __u32 value_bytes)
{
	__u32 first = 0, *wanted = bpf_map_lookup_elem(&monitored, &first);
	struct event *event;

	if (!wanted || !*wanted)
		return;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return;
	__builtin_memset(event, 0, sizeof(*event));
	event->flow = *flow;
	event->key_bytes = key_bytes;
	event->value_bytes = value_bytes;
	copy(event->program, program, program_bytes);
	copy(event->map, map, map_bytes);
	copy(event->key, key, key_bytes);
	copy(event->value, value, value_bytes);
	bpf_ringbuf_submit(event, 0);
}

/* `program` and `map` are literals, `key` and `value` pointers to what the map has. */
#define TELL(flow, program, map, key, value)                                                                           \
	told(flow, program, sizeof(program), map, sizeof(map), key, sizeof(*(key)), value, sizeof(*(value)))
