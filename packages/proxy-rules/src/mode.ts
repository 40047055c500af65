// Which of the kernel's mechanisms the proxy uses.

/** As in KubeProxyConfiguration. */
export type ProxyMode = 'iptables' | 'ipvs' | 'nftables'

/** Those whose packets can be traced. */
export type TracedMode = Exclude<ProxyMode, 'ipvs'>
