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

/** What the node writes, and replaces: what a container wrote there would be lost. */
const written = ['configMap', 'secret', 'downwardAPI', 'projected'] as const

/** Whether containers may only read a volume, whatever their mount says. */
export function isReadOnlyVolume(volume: Volume | undefined): boolean {
  if (!volume) return false
  if (written.some((kind) => volume[kind] !== undefined)) return true
  return Object.values(volume).some((source: unknown) => {
    return typeof source === 'object' && source !== null && 'readOnly' in source && source.readOnly === true
  })
}
