// Feature gates of kube-proxy 1.36, and what they change here. Pure.

/** Gates that cannot be set to anything else. */
export const lockedFeatures: ReadonlyMap<string, boolean> = new Map([
  ['MultiCIDRServiceAllocator', true],
  ['NFTablesProxyMode', true],
  ['PreferSameTrafficDistribution', true],
])
