"""One network for Kubernetes Pods and OpenStack VMs on OVN, tenant by tenant."""

__version__ = "0.1.0"
