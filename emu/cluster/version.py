"""The Kubernetes release whose behaviour is emulated; Nodes show it as their kubelet's version."""

KUBERNETES_VERSION = "v1.30.5"
