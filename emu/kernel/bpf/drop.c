// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* The filter of a TUN device that nobody reads: it says how much of a packet to queue for the reader. Without it a
 * thousand packets would lie there for ever. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("socket")
int drop(struct __sk_buff *skb)
{
	return 0;
}

char _license[] SEC("license") = "Dual MIT/GPL";
