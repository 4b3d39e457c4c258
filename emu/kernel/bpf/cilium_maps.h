/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The maps of a Node's datapath, as emu/plan/bpfmaps.py has them. Names and contents are Cilium's; keys hold IPv4 alone. */
#include "cilium.h"

#define AF_INET 2
#define ECHO 8
#define ECHO_REPLY 0
#define UNREACHABLE 3
#define TIME_EXCEEDED 11
#define ARP_REQUEST 1
#define ARP_REPLY 2
#define HOST_ID 1
#define WORLD_ID 2
#define REMOTE_NODE_ID 6
#define HOST_DELIVERY 1 /* of an endpoint: an address of the Node itself */
#define MARK_OVERLAY 0x0400
#define MARK_IDENTITY 0x0f00
#define FIRST_PORT 32768 /* for masquerading; below are NodePorts and what the Node's own sockets have */
#define FIN 1
#define SYN 2
#define RST 4
#define ACK 16
#define OUT 0
#define IN 1
#define RELATED 2 /* ICMP errors of a connection */
#define FRAGMENT 0x3fff
#define MORE 0x2000
#define ADDRESSES 0x10 /* BPF_F_PSEUDO_HDR */
#define TTL 64

struct endpoint {
	__u32 ifindex, sec_id, flags;
	__u16 lxc_id;
	__u8 mac[6], node_mac[6]; /* of eth0 in the Pod, and of lxc… */
	__u16 unused;
};

struct prefix {
	__u32 bits;
	__be32 ip;
};

struct remote {
	__u32 sec_identity;
	__be32 tunnel_endpoint; /* 0: without the tunnel */
};

struct config {
	__u32 overlay, host; /* indexes of cilium_vxlan (0 in native routing) and cilium_host */
	__be32 node; /* the Node's own address, which Pods outside are seen with */
	__be32 native, native_mask; /* where Pods' addresses are known: not masqueraded */
	__u8 host_mac[6], overlay_mac[6];
};

struct tuple {
	__be32 src, dst;
	__be16 sport, dport;
	__u8 proto, flags;
	__u16 unused;
};

/* As struct ct_entry: rx is what comes to the Pod, tx what it sends. */
struct tracked {
	__u64 packets, bytes;
	__u32 lifetime; /* until when: seconds since boot, as all times here */
	__u16 flags, rev_nat_index;
	__u8 tx_flags_seen, rx_flags_seen; /* of TCP, all that were seen */
	__u16 unused;
	__u32 src_sec_id, last_tx_report, last_rx_report;
};

struct echo {
	__u8 type, code;
	__u16 checksum;
	__be16 id, sequence;
};

struct arp {
	__u16 hardware, protocol;
	__u8 lengths[2];
	__u16 operation;
	__u8 sender[ETH_ALEN], sender_ip[4], target[ETH_ALEN], target_ip[4];
} __attribute__((packed));

struct translation {
	__be32 to_ip;
	__be16 to_port;
	__u16 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65535);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __be32);
	__type(value, struct endpoint);
} cilium_lxc SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 512000);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, struct remote);
} cilium_ipcache SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct tuple);
	__type(value, struct tracked);
} cilium_ct4_global SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct tuple);
	__type(value, struct translation);
} cilium_snat_v4 SEC(".maps");

/* What Cilium writes into the text of its programs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct config);
} cilium_config SEC(".maps");
