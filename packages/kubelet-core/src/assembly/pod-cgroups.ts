// Who makes the cgroups of pods, and where they are.
import type { Cgroups } from '@nodelet/linux'
import type { KubeletConfiguration } from '../configuration/types.ts'
import {
  type CgroupDriver,
  type CgroupDriverOptions,
  createCgroupDriver,
  noPodCgroups,
} from '../resource/cgroup-driver.ts'
import { sliceName, slicePath } from '../resource/slices.ts'
import { createSystemdDriver } from '../resource/systemd-driver.ts'

/** @param kind as the runtime wants it */
export function podCgroupsOf(
  kind: 'cgroupfs' | 'systemd',
  cgroups: Cgroups,
  configuration: Pick<KubeletConfiguration, 'cgroupsPerQOS' | 'cgroupRoot' | 'podPidsLimit'>,
  options: Pick<CgroupDriverOptions, 'quota' | 'pageSizes'>,
): CgroupDriver {
  if (!configuration.cgroupsPerQOS) return noPodCgroups(cgroups.version)
  const make = kind === 'systemd' ? createSystemdDriver : createCgroupDriver
  return make(cgroups, { ...configuration, ...options })
}

/** The cgroup that all pods are in, as far as the kubelet makes one. */
export function podsCgroupOf(
  kind: 'cgroupfs' | 'systemd',
  { cgroupsPerQOS, cgroupRoot }: Pick<KubeletConfiguration, 'cgroupsPerQOS' | 'cgroupRoot'>,
): string {
  if (!cgroupsPerQOS) return cgroupRoot || '/'
  return kind === 'systemd' ? slicePath(sliceName(cgroupRoot)) : `${cgroupRoot.replace(/\/+$/, '')}/kubepods`
}
