// What the driver can be told, and its defaults.
import { hostname } from 'node:os'
import { refused } from '../sdk/validate.ts'
import type { Logger } from '../log.ts'

export interface HostpathOptions {
  /** Default `hostpath.csi.k8s.io`. */
  name?: string
  /** Where state and data are; default `/var/lib/kubelet/plugins/NAME/data`. */
  stateDir?: string
  /** Default: the host's name. */
  nodeId?: string
  /** What the node takes of this driver's volumes; default 0: no limit. */
  maxVolumesPerNode?: number
  /** Bytes per kind of volume, which the parameter `kind` names; default: one kind without a name, as much as there is. */
  capacity?: Readonly<Record<string, number>>
  /** Bytes; default 1 TiB. */
  maxVolumeSize?: number
  /** Volumes are published by the controller before they are staged; default false. */
  enableAttach?: boolean
  /** How many may be attached, which the node then says it takes; default 0: no limit. */
  attachLimit?: number
  /** Volumes are bound to the node by `topology.hostpath.csi/node`; default true, since they are. */
  enableTopology?: boolean
  log?: Logger
}

export type Settings = Required<Omit<HostpathOptions, 'log'>>

export const topologyKey = 'topology.hostpath.csi/node'

/** @throws CsiError INVALID_ARGUMENT that names the option */
export function settingsOf({ log: _log, ...options }: HostpathOptions): Settings {
  const name = options.name ?? 'hostpath.csi.k8s.io'
  const settings: Settings = {
    stateDir: `/var/lib/kubelet/plugins/${name}/data`,
    nodeId: hostname(),
    maxVolumesPerNode: 0,
    capacity: {},
    maxVolumeSize: 2 ** 40,
    enableAttach: false,
    attachLimit: 0,
    enableTopology: true,
    ...options,
    name,
  }
  const numbers = { ...pick(settings), ...prefixed(settings.capacity) }
  for (const [field, value] of Object.entries(numbers)) {
    if (!Number.isSafeInteger(value) || value < 0) throw refused(`${field} ${value}: must be a whole number from 0 on`)
  }
  return settings
}

const pick = ({ maxVolumesPerNode, maxVolumeSize, attachLimit }: Settings): Record<string, number> => ({
  maxVolumesPerNode,
  maxVolumeSize,
  attachLimit,
})
const prefixed = (capacity: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(Object.entries(capacity).map(([kind, bytes]) => [`capacity.${kind}`, bytes]))
