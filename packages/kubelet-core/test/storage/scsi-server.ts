// The kernel's own iSCSI target and initiator, in a guest: what targetcli and a service would have set up.
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmdirSync, symlinkSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { mount } from '@nodelet/linux'

const unpacked = (name: string): string => resolve(import.meta.dirname, '../../../../.nodelet/debian', name)
const initiator = 'iqn.2026-01.example:node'

/** Loads the kernel's parts, and starts the daemon that keeps sessions. @throws Error where the kernel has none */
export function startInitiator(): void {
  const modules = [
    'sd_mod',
    'iscsi_tcp',
    'target_core_file',
    'iscsi_target_mod',
    'dm_mod',
    'dm_multipath',
    'dm_service_time',
  ]
  execFileSync('modprobe', ['-a', '-q', '-d', '/run', ...modules])
  mount({ source: 'configfs', target: '/sys/kernel/config', type: 'configfs' })
  const scratch = '/run/iscsi-etc'
  for (const folder of ['upper', 'work']) mkdirSync(join(scratch, folder), { recursive: true })
  const lower = `lowerdir=${unpacked('open-iscsi')}/etc:/etc`
  const options = [lower, `upperdir=${scratch}/upper`, `workdir=${scratch}/work`]
  mount({ source: 'iscsi', target: '/etc', type: 'overlay', options })
  writeFileSync('/etc/iscsi/initiatorname.iscsi', `InitiatorName=${initiator}\n`)
  mkdirSync('/run/lock/iscsi', { recursive: true })
  const libraries = ['libopeniscsiusr', 'libisns0'].map((name) => join(unpacked(name), 'usr/lib/x86_64-linux-gnu'))
  process.env['LD_LIBRARY_PATH'] = libraries.join(':')
  process.env['PATH'] = `${process.env['PATH']}:${unpacked('open-iscsi')}/sbin`
  execFileSync('iscsid', { stdio: 'ignore' })
}

export interface IscsiServer extends Disposable {
  iqn: string
  /** The file of a unit. */
  file(lun: number): string
}

export interface ServerOptions {
  /** Sizes of units 0, 1, …, in MiB. */
  units: readonly number[]
  portals: readonly string[]
  /** Of nodes that log in; default: nobody is asked. */
  chap?: { user: string; password: string }
}

/** A target in this kernel. */
export function serveDisks(name: string, { units, portals, chap }: ServerOptions): IscsiServer {
  const iqn = `iqn.2026-01.example:${name}`
  const group = join(target, 'iscsi', iqn, 'tpgt_1')
  const made = new Made()
  const file = (lun: number): string => `/run/${name}-${lun}`
  made.folderFor(join(target, 'iscsi'))
  made.folder(join(target, 'iscsi', iqn))
  made.folder(group)
  for (const [lun, mib] of units.entries()) made.unit(group, lun, made.store(file(lun), mib))
  for (const portal of portals) made.folder(join(group, 'np', portal))
  set(join(group, 'attrib/generate_node_acls'), 1)
  set(join(group, 'attrib/demo_mode_write_protect'), 0)
  set(join(group, 'attrib/authentication'), chap ? 1 : 0)
  if (chap) {
    set(join(group, 'auth/userid'), chap.user)
    set(join(group, 'auth/password'), chap.password)
  }
  set(join(group, 'enable'), 1)
  made.undo(() => set(join(group, 'enable'), 0))
  return { iqn, file, [Symbol.dispose]: () => made[Symbol.dispose]() }
}

export interface LoopServer extends Disposable {
  /** The name of its disk while the kernel knows it. */
  disk(): string | undefined
}

/** An adapter of this kernel with one unit. */
export function serveLoop(name: string, mib: number): LoopServer {
  execFileSync('modprobe', ['-a', '-q', '-d', '/run', 'tcm_loop'])
  const adapter = join(target, 'loopback/naa.6001405000000001')
  const group = join(adapter, 'tpgt_1')
  const made = new Made()
  made.folderFor(join(target, 'loopback'))
  made.folder(adapter)
  made.folder(group)
  set(join(group, 'nexus'), 'naa.6001405000000002')
  const before = new Set(disks())
  made.unit(group, 0, made.store(`/run/${name}`, mib))
  return {
    disk: () => disks().find((one) => !before.has(one)),
    [Symbol.dispose]: () => made[Symbol.dispose](),
  }
}

const disks = (): string[] => readdirSync('/dev').filter((name) => /^sd[a-z]$/.test(name))
const target = '/sys/kernel/config/target'
const set = (path: string, value: string | number): void => writeFileSync(path, String(value))
let stores = 0

/** Objects of configfs, which go in the opposite order. */
class Made implements Disposable {
  readonly #steps: (() => void)[] = []

  undo(step: () => void): void {
    this.#steps.push(step)
  }

  folder(path: string): void {
    mkdirSync(path)
    this.undo(() => rmdirSync(path))
  }

  /** That of a kind of targets stays. */
  folderFor(path: string): void {
    mkdirSync(path, { recursive: true })
  }

  /** A file as a disk. */
  store(file: string, mib: number): string {
    writeFileSync(file, '')
    truncateSync(file, mib << 20)
    const adapter = join(target, 'core', `fileio_${stores++}`)
    const store = join(adapter, 'store')
    this.folder(adapter)
    this.folder(store)
    set(join(store, 'control'), `fd_dev_name=${file},fd_dev_size=${mib << 20}`)
    set(join(store, 'enable'), 1)
    return store
  }

  unit(group: string, lun: number, store: string): void {
    const folder = join(group, `lun/lun_${lun}`)
    const link = join(folder, 'store')
    this.folder(folder)
    symlinkSync(store, link)
    this.undo(() => unlinkSync(link))
  }

  [Symbol.dispose](): void {
    for (const step of this.#steps.reverse()) step()
  }
}
