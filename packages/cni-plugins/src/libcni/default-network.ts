// The network that a node makes when nobody has made one. Pure.

/** A network of pods behind this machine: a bridge with addresses of its own, masquerading, and host ports. */
export function defaultNetwork(options: { name?: string; bridge?: string; subnets: readonly string[] }): object {
  const { name: called = 'nodelet', bridge = 'cni0', subnets } = options
  const families = [...new Set(subnets.map((subnet) => subnet.includes(':')))]
  return {
    cniVersion: '1.0.0',
    name: called,
    plugins: [
      {
        type: 'bridge',
        bridge,
        isGateway: true,
        ipMasq: true,
        hairpinMode: true,
        ipam: {
          type: 'host-local',
          ranges: subnets.map((subnet) => [{ subnet }]),
          routes: families.map((isV6) => ({ dst: isV6 ? '::/0' : '0.0.0.0/0' })),
        },
      },
      { type: 'portmap', capabilities: { portMappings: true } },
    ],
  }
}
