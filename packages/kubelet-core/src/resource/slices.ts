// Names and places of the cgroups of pods where systemd makes them. Pure.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { QosClass } from './qos.ts'

const escape = (part: string): string => part.replaceAll('-', '_')

/** `kubepods-burstable-pod<UID>.slice`, and before that what `cgroupRoot` says. */
export function sliceName(cgroupRoot: string, qos?: QosClass, podUid?: string): string {
  const root = cgroupRoot.split('/').filter((part) => part !== '')
  const tier = qos === undefined || qos === 'Guaranteed' ? [] : [qos.toLowerCase()]
  const pod = podUid === undefined ? [] : [`pod${escape(podUid)}`]
  return `${[...root.map(escape), 'kubepods', ...tier, ...pod].join('-')}.slice`
}

/** Below it are the slices of all pods of a node with such a root, which is not `/`. */
export const rootSlicePath = (cgroupRoot: string): string =>
  slicePath(sliceName(cgroupRoot).replace(/-kubepods\.slice$/, '.slice'))

/** Where systemd puts it: `a-b.slice` is in `a.slice`. */
export function slicePath(name: string): string {
  const parts = name.replace(/\.slice$/, '').split('-')
  return parts.map((_, at) => `/${parts.slice(0, at + 1).join('-')}.slice`).join('')
}

/** Where the pod's slice is: nested slices, dashes of the UID as underscores. */
export const podSlicePath = ({ metadata }: Pod, qos: QosClass, cgroupRoot: string = '/'): string =>
  slicePath(sliceName(cgroupRoot, qos, metadata?.uid ?? ''))
