"""The built-in ways of joining a Pod, as a CNI plugin that any runtime can call: the program `kube-emu-cni`.

It is the one program of this package that acts in the namespaces it is called in, and on the machine if it is called
there: that is what a CNI plugin is for."""
