// Feature gates of kube-proxy 1.36, and what they change here. Pure.

/** Gates that cannot be set to anything else. */
export const lockedFeatures: ReadonlyMap<string, boolean> = new Map([
  ['MultiCIDRServiceAllocator', true],
  ['NFTablesProxyMode', true],
  ['PreferSameTrafficDistribution', true],
])

/** Gates that change something here, and what they are where nothing is said of them. */
export const usualFeatures = { AllowServiceExternalIPs: true, ComponentFlagz: false, ComponentStatusz: false } as const

export const isOn = (gate: keyof typeof usualFeatures, gates: Readonly<Record<string, boolean>>): boolean =>
  gates[gate] ?? usualFeatures[gate]
