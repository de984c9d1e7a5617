"""The signing side of gateway policies: the folder of whoever writes them. Gateways hold none of this."""
