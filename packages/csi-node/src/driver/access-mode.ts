// Access modes of Kubernetes → those of CSI.

/** `VolumeCapability.AccessMode.Mode` of CSI. */
export type AccessMode =
  | 'SINGLE_NODE_WRITER'
  | 'SINGLE_NODE_READER_ONLY'
  | 'MULTI_NODE_READER_ONLY'
  | 'MULTI_NODE_SINGLE_WRITER'
  | 'MULTI_NODE_MULTI_WRITER'
  | 'SINGLE_NODE_SINGLE_WRITER'
  | 'SINGLE_NODE_MULTI_WRITER'

const plain = new Map<string, AccessMode>([
  ['ReadWriteOnce', 'SINGLE_NODE_WRITER'],
  ['ReadOnlyMany', 'MULTI_NODE_READER_ONLY'],
  ['ReadWriteMany', 'MULTI_NODE_MULTI_WRITER'],
  ['ReadWriteOncePod', 'SINGLE_NODE_WRITER'],
])

/** For drivers that tell one writer on a node from many. */
const telling = new Map<string, AccessMode>([
  ...plain,
  ['ReadWriteOnce', 'SINGLE_NODE_MULTI_WRITER'],
  ['ReadWriteOncePod', 'SINGLE_NODE_SINGLE_WRITER'],
])

/**
 * The mode that a driver is asked for.
 * @param modes `spec.accessModes` of a PersistentVolume: the first counts. Default: ReadWriteOnce
 * @param capabilities of the driver's node service
 * @throws RangeError: a mode that Kubernetes does not have
 */
export function accessMode(
  modes: readonly string[],
  capabilities: { readonly singleNodeMultiWriter: boolean },
): AccessMode {
  const [mode = 'ReadWriteOnce'] = modes
  const found = (capabilities.singleNodeMultiWriter ? telling : plain).get(mode)
  if (found === undefined)
    throw new RangeError(`access mode ${JSON.stringify(mode)}: must be one of ${[...plain.keys()].join(', ')}`)
  return found
}
