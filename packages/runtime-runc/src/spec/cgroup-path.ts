// Where a container's cgroup is, in the words of either driver. Pure.
import type { CgroupDriver } from '../handlers.ts'
import { SpecError } from './errors.ts'

/** What names scopes that systemd makes for us. */
const scopePrefix = 'nodelet'
const usualSlice = 'system.slice'

/**
 * The folder of a slice: systemd nests `a-b.slice` in `a.slice`.
 *
 * @throws SpecError for a name that is no slice, or the root's
 */
export function expandSlice(slice: string): string {
  const name = slice.replace(/\.slice$/, '')
  const parts = name.split('-')
  if (!slice.endsWith('.slice') || slice.includes('/') || parts.includes('')) {
    throw new SpecError(`cgroup parent ${slice} is no slice: name it for instance kubepods.slice`)
  }
  return parts.map((_, at) => `/${parts.slice(0, at + 1).join('-')}.slice`).join('')
}

/** The last slice of a path such as `/kubepods.slice/kubepods-pod1.slice`. @throws SpecError when it is of the other driver */
function sliceOf(parent: string): string {
  const last = parent.split('/').findLast((part) => part !== '') ?? usualSlice
  if (last.endsWith('.slice')) return last
  throw new SpecError(`cgroup parent ${parent} is of the cgroupfs driver: set the kubelet's cgroupDriver to systemd`)
}

/** @throws SpecError when the parent is of the other driver, or is no folder below the root: that belongs to others */
export function checkCgroupParent(driver: CgroupDriver, parent: string): void {
  if (parent === '') return
  const parts = parent.split('/').filter((part) => part !== '')
  if (parts.length === 0 || parts.includes('..')) {
    throw new SpecError(`cgroup parent ${parent} is not below the root: give each pod a cgroup of its own`)
  }
  if (driver === 'systemd') return void expandSlice(sliceOf(parent))
  if (parent.endsWith('.slice')) {
    throw new SpecError(`cgroup parent ${parent} is of the systemd driver: set the kubelet's cgroupDriver to cgroupfs`)
  }
}

/** `linux.cgroupsPath` of config.json. `fallback` is used when the pod names no parent. */
export function cgroupsPath(driver: CgroupDriver, parent: string, id: string, fallback = '/nodelet'): string {
  checkCgroupParent(driver, parent)
  if (driver === 'systemd') return `${sliceOf(parent)}:${scopePrefix}:${id}`
  return `${(parent || fallback).replace(/\/+$/, '')}/${id}`
}

/** Where that is below the hierarchies. */
export function containerCgroup(driver: CgroupDriver, parent: string, id: string): string {
  if (driver === 'systemd') return `${parentCgroup(driver, parent)}/${scopePrefix}-${id}.scope`
  return cgroupsPath(driver, parent, id)
}

/** Where a container's monitor is, so that the pod pays for it; undefined where only systemd may make cgroups. */
export function monitorCgroup(driver: CgroupDriver, parent: string, id: string): string | undefined {
  return driver === 'systemd' ? undefined : cgroupsPath(driver, parent, `nodelet-conmon-${id}`)
}

/** The same for the pod's cgroup. */
export function parentCgroup(driver: CgroupDriver, parent: string): string {
  return driver === 'systemd' ? expandSlice(sliceOf(parent)) : parent
}
