"""Deployments (control plane) and the inference server (data plane)."""
