// Which parts there are.

/** The parts of a node that one process can run. */
export const partNames = ['cluster', 'runtime', 'kubelet', 'proxy'] as const
export type Part = (typeof partNames)[number]
