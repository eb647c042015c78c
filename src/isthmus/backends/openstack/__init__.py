"""Neutron and Keystone by their APIs: read facts and owned objects, diff (pure), apply. Nobody else speaks to them."""
