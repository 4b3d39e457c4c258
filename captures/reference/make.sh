#!/bin/sh
# Make the reference captures again: one folder for each way a packet can go, in it the packets of one request at every
# hop (all.pcapng) and the path they make, beside the predicted one (path.json). `make captures`; needs root or user
# namespaces. tests/unit/test_reference_captures.py reads them, without either.
set -eu
cd "$(dirname "$0")/../.."
PATH="$PWD/.venv/bin:$PATH"
EMU_RUNTIME_DIR="$(mktemp -d)"
export PATH EMU_RUNTIME_DIR
trap 'emu down --all; rm -rf "$EMU_RUNTIME_DIR"' EXIT

# experiment, source, target, options of `emu trace`
reference() {
    folder="captures/reference/$topology/$1"
    shift
    mkdir -p "$folder"
    emu trace "$@" --write "$folder/all.pcapng" --output json |
        python3 -m json.tool --compact --no-ensure-ascii >"$folder/path.json"
    echo "$folder"
}

topology=two-node-flannel-vxlan
emu up "topologies/$topology"
nginx="$(emu get pods -l app=nginx -o name | sed s,pod/,,)" # on node2, as client2 is
reference pod-to-pod-same-node client2 "$nginx:80"
reference pod-to-pod-other-node client client2 --icmp
reference pod-to-service client nginx-svc:80
reference pod-to-itself-by-service "$nginx" nginx-svc:80
reference service-without-endpoints client empty:80
reference node-to-service node1 nginx-svc:80
reference cluster-dns client 10.96.0.10:53 --udp
emu down

topology=two-node-calico-bgp
emu up "topologies/$topology"
reference pod-to-pod-other-node client client2 --icmp
reference pod-to-service client nginx-svc:80
emu down

topology=two-node-calico-ipip # by eBPF or by the module, as this kernel has it: the packets are the same
emu up "topologies/$topology"
reference pod-to-pod-other-node client client2 --icmp
reference pod-to-service client nginx-svc:80
reference node-to-pod-other-node node1 client2 --icmp
emu down

topology=two-hosts-vm
emu up "topologies/$topology"
reference pod-to-pod-other-node client proxy:80
emu down

topology=two-node-calico-vxlan
emu up "topologies/$topology"
reference pod-to-pod-other-node client client2 --icmp
reference pod-to-service client nginx-svc:80
reference pod-to-pod-same-node client2 "$(emu get pods -l app=nginx -o name | sed s,pod/,,):80"
emu down

topology=two-node-cilium
emu up "topologies/$topology"
reference pod-to-pod-other-node client client2 --icmp
reference pod-to-pod-same-node client2 "$(emu get pods -l app=nginx -o name | sed s,pod/,,):80"
reference pod-to-service client nginx-svc:80
reference node-to-pod-other-node node1 client2 --icmp
reference pod-to-another-node client node2 --icmp
emu down

topology=two-node-canal
emu up "topologies/$topology"
reference pod-to-pod-other-node client client2 --icmp
reference pod-to-service client nginx-svc:80
emu down

topology=two-hosts-docker-swarm
emu up "topologies/$topology"
reference pod-to-pod-other-node client1 db:80
reference pod-to-node client1 node2
emu down

topology=two-node-aws-vpc-secondary-enis
emu up "topologies/$topology"
web="$(emu get pods -l app=web -o name | sed -n 's,pod/,,;1p')" # on node1, with an address of eth1
reference pod-to-pod-other-node client client2 --icmp
reference pod-of-eth1-to-pod-other-node "$web" client2 --icmp
reference pod-of-eth1-to-the-internet "$web" 203.0.113.10 --icmp
reference pod-to-service client nginx-svc:80
emu down
