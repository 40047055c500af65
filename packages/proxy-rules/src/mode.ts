// Which of the kernel's mechanisms the proxy uses.

/** As in KubeProxyConfiguration. */
export type ProxyMode = 'iptables' | 'ipvs' | 'nftables'
