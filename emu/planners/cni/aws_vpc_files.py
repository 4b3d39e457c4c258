"""The CNI configuration that aws-node writes on a Node. The plugin for egress in the other family is switched off.

Source: aws/amazon-vpc-cni-k8s misc/10-aws.conflist, cmd/aws-vpc-cni/main.go (generateJSON), v1.21."""

from __future__ import annotations

from emu.planners.cni import node_files

CONFLIST = """{{
  "cniVersion": "0.4.0",
  "name": "aws-cni",
  "disableCheck": true,
  "plugins": [
    {{
      "name": "aws-cni",
      "type": "aws-cni",
      "vethPrefix": "eni",
      "mtu": "{mtu}",
      "podSGEnforcingMode": "strict",
      "pluginLogFile": "/var/log/aws-routed-eni/plugin.log",
      "pluginLogLevel": "DEBUG",
      "capabilities": {{"io.kubernetes.cri.pod-annotations": true}}
    }},
    {{
      "name": "egress-cni",
      "type": "egress-cni",
      "mtu": "{mtu}",
      "enabled": "false",
      "randomizeSNAT": "{randomize}",
      "nodeIP": "",
      "ipam": {{
         "type": "host-local",
         "ranges": [[{{"subnet": "fd00::ac:00/118"}}]],
         "routes": [{{"dst": "::/0"}}],
         "dataDir": "/run/cni/v4pd/egress-v6-ipam"
      }},
      "pluginLogFile": "/var/log/aws-routed-eni/egress-v6-plugin.log",
      "pluginLogLevel": "DEBUG"
    }},
    {{
      "type": "portmap",
      "capabilities": {{"portMappings": true}},
      "snat": true
    }}
  ]
}}
"""


def conflist(mtu: int, randomize: str) -> tuple[str, str]:
    """Path and text. `randomize`: AWS_VPC_K8S_CNI_RANDOMIZESNAT."""
    return f"{node_files.CNI}/10-aws.conflist", CONFLIST.format(mtu=mtu, randomize=randomize)
