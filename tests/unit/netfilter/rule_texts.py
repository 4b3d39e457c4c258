"""Rules as people and programs write them, beside what `iptables-save` 1.8.9 prints for them (read off a kernel)."""

ECHOES = {
    "-A A -m comment --comment ns/svc:p80 -m tcp -p tcp -d 172.30.0.41 --dport 80 ! -s 10.0.0.0/8 -j B":
        '-A A ! -s 10.0.0.0/8 -d 172.30.0.41/32 -p tcp -m comment --comment "ns/svc:p80" -m tcp --dport 80 -j B',
    '-A A -m conntrack --ctstate NEW -m comment --comment "a b" -j B':
        '-A A -m conntrack --ctstate NEW -m comment --comment "a b" -j B',
    "-A A -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP":
        "-A A -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
    "-A A -p udp -i eth+ -m comment --comment foo -m addrtype ! --src-type LOCAL --limit-iface-in "
    "-m addrtype --dst-type LOCAL -m multiport --dports 80,81:90 -j RETURN":
        "-A A -i eth+ -p udp -m comment --comment foo -m addrtype ! --src-type LOCAL --limit-iface-in "
        "-m addrtype --dst-type LOCAL -m multiport --dports 80,81:90 -j RETURN",
    "-A A -m recent --name SEP --rcheck --seconds 10800 --reap -j B":
        "-A A -m recent --rcheck --seconds 10800 --reap --name SEP --mask 255.255.255.255 --rsource -j B",
    "-A A -m recent --name SEP --set -m tcp -p tcp -j DNAT --to-destination 1.2.3.4:80":
        "-A A -p tcp -m recent --set --name SEP --mask 255.255.255.255 --rsource -m tcp "
        "-j DNAT --to-destination 1.2.3.4:80",
    "-A A -m statistic --mode random --probability 0.3333333333 -j B":
        "-A A -m statistic --mode random --probability 0.33333333349 -j B",
    "-A A -p tcp --syn -j RETURN": "-A A -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j RETURN",
    "-A A -p icmp --icmp-type echo-request -j RETURN": "-A A -p icmp -m icmp --icmp-type 8 -j RETURN",
    "-A A -p 132 --dport 5 -j RETURN": "-A A -p sctp -m sctp --dport 5 -j RETURN",
    "-A A -j MARK --or-mark 0x4000": "-A A -j MARK --set-xmark 0x4000/0x4000",
    "-A A -j MARK --xor-mark 0x4000": "-A A -j MARK --set-xmark 0x4000/0x0",
    "-A A -j MARK --and-mark 0x4000": "-A A -j MARK --set-xmark 0x0/0xffffbfff",
    "-A A -j MARK --set-mark 0x4000": "-A A -j MARK --set-xmark 0x4000/0xffffffff",
    "-A A -j MARK --set-mark 0x4000/0x3": "-A A -j MARK --set-xmark 0x4000/0x4003",
    "-A A -j CONNMARK --set-mark 0x80/0x80": "-A A -j CONNMARK --set-xmark 0x80/0x80",
    "-A A -j CONNMARK --restore-mark --mask 0x80": "-A A -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80",
    "-A A -j CONNMARK --save-mark": "-A A -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff",
    "-A A -j TTL --ttl-inc 1": "-A A -j TTL --ttl-inc 1",
    "-A A -j REJECT": "-A A -j REJECT --reject-with icmp-port-unreachable",
    "-A A -s 0.0.0.0/0 --destination 10.1.2.3/8 -g B": "-A A -d 10.0.0.0/8 -g B",
    '-A A -m comment --comment "cali:x-_" -m comment --comment "Allow IPIP packets" -p 4 -m set --match-set S src -j B':
        '-A A -p ipencap -m comment --comment "cali:x-_" -m comment --comment "Allow IPIP packets" '
        "-m set --match-set S src -j B",
    "-A A -m set --match-set S src -m set ! --match-set T dst -j B":
        "-A A -m set --match-set S src -m set ! --match-set T dst -j B",
    "-A A -m mark --mark 0x40000/0x40000 -m rpfilter --invert --validmark -j DROP":
        "-A A -m mark --mark 0x40000/0x40000 -m rpfilter --validmark --invert -j DROP",
    "-A A -p udp --dport 4789 -j NOTRACK": "-A A -p udp -m udp --dport 4789 -j NOTRACK",
    "-A A --in-interface cali+ --goto B": "-A A -i cali+ -g B",
    "-A A -m mark --mark 0/0x10000 --jump MARK --set-mark 0/0x30000":
        "-A A -m mark --mark 0x0/0x10000 -j MARK --set-xmark 0x0/0x30000",
    r'-A A -m comment --comment "dnat name: \"cbr0\"" -j MASQUERADE --random-fully':
        r'-A A -m comment --comment "dnat name: \"cbr0\"" -j MASQUERADE --random-fully',
}  # fmt: skip
