"""What stands between the faces and the network: certificates, Unix sockets, and which proxies are believed."""
