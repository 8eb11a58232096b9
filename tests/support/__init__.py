"""What tests share: real servers of every flavour, and a proxy that misbehaves on request."""
