// What a mount of a container asks for. Pure.
import type { Container, Volume, VolumeMount } from 'kubernetes-types/core/v1.d.ts'
import { ContainerConfigError } from './config-error.ts'

export type NewerMount = VolumeMount & { recursiveReadOnly?: string }

/** Where the mount is in the container: a path that does not begin at the root is meant from there. */
export const absolute = (path: string): string => (path.startsWith('/') ? path : `/${path}`)

/**
 * Whether all that is mounted below is to be read-only too: `VolumeMount.recursiveReadOnly`.
 * @throws ContainerConfigError for what cannot be had, or goes with nothing else
 */
export function isRecursive(mount: NewerMount, canRecurse: boolean): boolean {
  const { name, recursiveReadOnly: mode = 'Disabled', readOnly, mountPropagation: propagation = 'None' } = mount
  if (mode === 'Disabled') return false
  const asked = `volume "${name}" requested recursive read-only mode, but it is not`
  if (!readOnly) throw new ContainerConfigError(`${asked} read-only`)
  if (propagation !== 'None') throw new ContainerConfigError(`${asked} compatible with propagation "${propagation}"`)
  if (mode === 'IfPossible') return canRecurse
  if (mode !== 'Enabled') throw new ContainerConfigError(`unknown recursive read-only mode "${mode}"`)
  if (!canRecurse) throw new ContainerConfigError(`${asked} supported by the runtime`)
  return true
}

/** Whether some mount of the container asks what the runtime handler can do. */
export function asksRecursive({ volumeMounts = [] }: Container): boolean {
  return volumeMounts.some(({ recursiveReadOnly: mode }: NewerMount) => mode !== undefined && mode !== 'Disabled')
}

const written = ['configMap', 'secret', 'downwardAPI', 'projected'] as const

/** Whether the node writes a volume, and replaces what is in it: containers only read it, whatever their mounts say. */
export const isWritten = (volume: Volume | undefined): boolean => written.some((kind) => volume?.[kind] !== undefined)

/** Whether a pod says of a volume itself, not of a mount of it, that it is only read. */
export const hasReadOnlySource = (volume: Volume | undefined): boolean =>
  Object.values(volume ?? {}).some((source: unknown) => {
    return typeof source === 'object' && source !== null && 'readOnly' in source && source.readOnly === true
  })
