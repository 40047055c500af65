// What CDI devices change in a spec that is otherwise done. Pure.
import { posix } from 'node:path'
import type { ResolvedEdits } from '../cdi/cdi.ts'
import type { CdiDeviceNode } from '../cdi/nodes.ts'
import { SpecError } from './errors.ts'
import { byDepth } from './mounts.ts'
import type { OciDevice, OciDeviceRule, OciHooks, OciMount, OciSpec } from './oci.ts'

/**
 * The spec with the edits, one after the other: variables, nodes and mounts replace those of their name, all else is
 * added.
 *
 * @throws SpecError for network devices when the OCI runtime moves none
 */
export function applyEdits(spec: OciSpec, all: readonly ResolvedEdits[], hasNetDevices = false): OciSpec {
  return all.reduce((before, edits) => applyOne(before, edits, hasNetDevices), spec)
}

function applyOne(spec: OciSpec, edits: ResolvedEdits, hasNetDevices: boolean): OciSpec {
  const { env = [], deviceNodes = [], mounts = [], hooks = [], netDevices = [], additionalGids = [], intelRdt } = edits
  if (netDevices.length > 0 && !hasNetDevices) {
    const names = netDevices.map((one) => one.hostInterfaceName).join(', ')
    throw new SpecError(`CDI network devices ${names}: this OCI runtime cannot move them; use runc 1.4 or newer`)
  }
  const { process, linux } = spec
  const { user } = process
  const paths = new Set(deviceNodes.map(({ path }) => path))
  const gids = additionalGids.filter((gid) => gid !== 0)
  return {
    ...spec,
    process: {
      ...process,
      env: mergeEnv(process.env, env),
      user: { ...user, additionalGids: [...new Set([...user.additionalGids, ...gids])] },
    },
    mounts: mounts.reduce(replaceMount, spec.mounts).toSorted(byDepth),
    ...(hooks.length > 0 || spec.hooks ? { hooks: hooks.reduce(addHook, spec.hooks ?? {}) } : {}),
    linux: {
      ...linux,
      devices: [
        ...linux.devices.filter(({ path }) => !paths.has(path)),
        ...deviceNodes.map((node) => device(node, user)),
      ],
      resources: { ...linux.resources, devices: [...linux.resources.devices, ...deviceNodes.flatMap(rule)] },
      ...(intelRdt ? { intelRdt } : {}),
      ...(netDevices.length > 0
        ? {
            netDevices: {
              ...linux.netDevices,
              ...Object.fromEntries(netDevices.map(({ hostInterfaceName, name }) => [hostInterfaceName, { name }])),
            },
          }
        : {}),
    },
  }
}

function mergeEnv(before: readonly string[], more: readonly string[]): string[] {
  const keyOf = (entry: string): string => entry.split('=', 1)[0] ?? ''
  return [...new Map([...before, ...more].map((entry) => [keyOf(entry), entry])).values()]
}

/** A node without owner belongs to the user of the container. */
function device(
  { path, type, major, minor, fileMode, uid, gid }: CdiDeviceNode,
  user: { uid: number; gid: number },
): OciDevice {
  return {
    path,
    type,
    major,
    minor,
    uid: uid ?? user.uid,
    gid: gid ?? user.gid,
    ...(fileMode === undefined ? {} : { fileMode }),
  }
}

function rule({ type, major, minor, permissions }: CdiDeviceNode): OciDeviceRule[] {
  if ((type !== 'b' && type !== 'c') || permissions === 'none') return []
  return [{ allow: true, type, major, minor, access: permissions || 'rwm' }]
}

function replaceMount(mounts: OciMount[], edit: NonNullable<ResolvedEdits['mounts']>[number]): OciMount[] {
  const destination = posix.resolve('/', edit.containerPath)
  const kept = mounts.filter((mount) => mount.destination !== destination)
  return [...kept, { destination, type: edit.type || 'bind', source: edit.hostPath, options: edit.options ?? [] }]
}

function addHook(hooks: OciHooks, { hookName, ...hook }: NonNullable<ResolvedEdits['hooks']>[number]): OciHooks {
  return { ...hooks, [hookName]: [...(hooks[hookName] ?? []), hook] }
}
