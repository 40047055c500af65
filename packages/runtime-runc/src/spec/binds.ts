// The mounts that the container asks for.
import { posix } from 'node:path'
import { MountPropagation } from '@nodelet/cri-api'
import type { Mount, RuntimeHandlerFeatures } from '@nodelet/cri-api'
import { SpecError } from './errors.ts'
import type { ContainerFacts, MountSource } from './facts.ts'
import type { OciMount } from './oci.ts'

/**
 * Turns a CRI mount into a bind mount.
 *
 * @throws SpecError when the source or the propagation cannot be had.
 */
export function bindMount(
  mount: Mount,
  { sources, imageMounts, idMapped }: Pick<ContainerFacts, 'sources' | 'imageMounts' | 'idMapped'>,
  features?: RuntimeHandlerFeatures,
): OciMount {
  const destination = posix.resolve('/', mount.containerPath)
  if (!mount.hostPath) {
    const view = imageMounts?.[mount.containerPath]
    if (view === undefined) throw new SpecError(`mount ${mount.containerPath} has neither a host path nor an image`)
    return { destination, type: 'bind', source: view, options: ['rbind', 'rprivate', 'ro'] }
  }
  const source = sources[mount.hostPath]
  if (!source)
    throw new SpecError(`mount ${mount.containerPath}: host path ${mount.hostPath} does not exist; create it`)
  const options = ['rbind', propagationOption(mount, source), access(mount, features)]
  if (mount.uidMappings.length === 0 && mount.gidMappings.length === 0) {
    return { destination, type: 'bind', source: source.path, options }
  }
  const mapped = idMapped?.[mount.containerPath]
  if (mapped === undefined) throw new SpecError(`mount ${mount.containerPath}: its source is not id-mapped`)
  return { destination, type: 'bind', source: mapped, options }
}

/** What the root needs so that the mounts' propagation reaches the host; undefined when none does. */
export function rootfsPropagation(mounts: readonly Mount[]): 'rshared' | 'rslave' | undefined {
  if (mounts.some((mount) => mount.propagation === MountPropagation.PROPAGATION_BIDIRECTIONAL)) return 'rshared'
  if (mounts.some((mount) => mount.propagation === MountPropagation.PROPAGATION_HOST_TO_CONTAINER)) return 'rslave'
  return undefined
}

function propagationOption(mount: Mount, source: MountSource): string {
  switch (mount.propagation) {
    case MountPropagation.PROPAGATION_PRIVATE:
      return 'rprivate'
    case MountPropagation.PROPAGATION_HOST_TO_CONTAINER:
      if (source.propagation !== 'private') return 'rslave'
      throw notPropagating(source, 'shared or slave')
    case MountPropagation.PROPAGATION_BIDIRECTIONAL:
      if (source.propagation === 'shared') return 'rshared'
      throw notPropagating(source, 'shared')
    default:
      throw new SpecError(`mount ${mount.containerPath}: propagation ${mount.propagation} is unknown`)
  }
}

function notPropagating({ path, mountPoint = '/' }: MountSource, wanted: string): SpecError {
  return new SpecError(
    `path "${path}" is mounted on "${mountPoint}" but it is not a ${wanted} mount: mount --make-rshared ${mountPoint}`,
  )
}

function access(mount: Mount, features: RuntimeHandlerFeatures | undefined): 'ro' | 'rw' | 'rro' {
  if (!mount.recursiveReadOnly) return mount.readonly ? 'ro' : 'rw'
  if (!mount.readonly)
    throw new SpecError(`mount ${mount.containerPath}: recursive read-only mount conflicts with RW mount`)
  if (mount.propagation !== MountPropagation.PROPAGATION_PRIVATE) {
    throw new SpecError(`mount ${mount.containerPath}: recursive read-only mount needs private propagation`)
  }
  if (features?.recursiveReadOnlyMounts === false) {
    throw new SpecError(
      `RROUnsupported: mount ${mount.containerPath}: this kernel or OCI runtime has no recursive read-only mounts`,
    )
  }
  return 'rro'
}
