// Volumes that are full, and do not go: run in a mount namespace of its own. Writes what came of each case as JSON.
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { mkdtempSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ensureMounted, ensureTarget, removeTarget } from '@nodelet/csi-node/sdk'
import { mount, readMountInfo, unmount } from '@nodelet/linux'
import { silentLogger } from '../../src/log.ts'
import { checkAnswers, readVolumeApart } from '../../src/storage/apart.ts'
import { createNodeDisks } from '../../src/storage/node-disks.ts'
import { type LocalContext, setUpLocal } from '../../src/storage/local.ts'
import { setUpNfs } from '../../src/storage/nfs.ts'
import { shareRoot } from '../../src/storage/shared-root.ts'
import { bindSubPath } from '../../src/volume/sub-path.ts'
import { tearDownPod } from '../../src/volume/tear-down.ts'
import { removeTree } from '../../src/volume/remove-tree.ts'

const [base = ''] = process.argv.slice(2)
mount({ source: 'tmpfs', target: base, type: 'tmpfs', options: ['nosuid', 'nodiratime'] })
const results: Record<string, unknown> = {}

/** A disk with data, as a driver or a server has it. */
const disk = join(base, 'disk')
mkdirSync(join(disk, 'deep/er'), { recursive: true })
writeFileSync(join(disk, 'deep/er/precious'), 'data')
const isWhole = (): boolean => existsSync(join(disk, 'deep/er/precious'))
const message = async (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'done',
    (error: Error) => error.message.replaceAll(base, ''),
  )
const mounts = async (): Promise<string[]> =>
  (await readMountInfo('self', { below: base })).map(({ mountPoint }) => mountPoint.slice(base.length)).filter(Boolean)

/** @returns the root folder, and the volume's */
function pod(plugin: string, ...more: string[]): { rootDir: string; volume: string; target: string } {
  const rootDir = mkdtempSync(join(base, 'k-'))
  const volume = join(rootDir, 'pods/uid/volumes', `kubernetes.io~${plugin}`, 'v')
  const target = join(volume, ...more)
  mkdirSync(target, { recursive: true })
  return { rootDir, volume, target }
}
const bind = (target: string): void => mount({ source: disk, target, options: ['bind'] })

for (const [plugin, ...more] of [['csi', 'mount'], ['local-volume'], ['nfs'], ['empty-dir'], ['some-other']] as const) {
  const { rootDir, target, volume } = pod(plugin, ...more)
  if (plugin === 'csi') writeFileSync(join(volume, 'vol_data.json'), '{}\n')
  bind(target)
  const busy = openSync(join(target, 'deep/er/precious'), 'r')
  const refused = (await message(tearDownPod(rootDir, 'uid'))).replace(rootDir.slice(base.length), '')
  const stays = (await mounts()).length === 1 && isWhole()
  closeSync(busy)
  const after = await message(tearDownPod(rootDir, 'uid'))
  results[plugin] = {
    refused,
    stays,
    after,
    left: readdirSync(join(rootDir, 'pods')),
    whole: isWhole(),
    mounts: await mounts(),
  }
}

{
  // A mount that was lost, with files where it was: they are somebody's.
  const { rootDir, target } = pod('csi', 'mount')
  writeFileSync(join(target, 'written-without-a-mount'), '')
  const refused = await message(tearDownPod(rootDir, 'uid'))
  results['unmounted'] = { refused: refused.includes('ENOTEMPTY'), left: readdirSync(target) }
}
{
  const { rootDir, volume } = pod('nfs')
  writeFileSync(join(volume, 'file'), '')
  const refused = await message(tearDownPod(rootDir, 'uid'))
  results['nfs unmounted'] = { refused: refused.replace(rootDir.slice(base.length), ''), left: readdirSync(volume) }
}
{
  // Mounted while it is removed: the walk itself has to see it, also a bind of one file system.
  const { volume } = pod('empty-dir', 'inner')
  bind(join(volume, 'inner'))
  results['bind'] = { refused: (await message(removeTree(volume))).includes('is still mounted'), whole: isWhole() }
  unmount(join(volume, 'inner'))
  renameSync(join(volume, 'inner'), join(volume, 'empty'))
  symlinkSync(disk, join(volume, 'inner'))
  mkdirSync(join(volume, Array.from({ length: 300 }, (_, depth) => `d${depth}`).join('/'), 'end'), { recursive: true })
  await removeTree(volume)
  results['deep'] = { gone: !existsSync(volume), whole: isWhole() }
}
{
  // Links that a container with this folder as a hostPath has put in the place of folders: they go, and lead nowhere.
  const others = join(base, 'others')
  const files = ['volumes/kubernetes.io~empty-dir/v', 'kubernetes.io~empty-dir/v', 'v/c', 'c', '']
  for (const name of files) {
    mkdirSync(join(others, name), { recursive: true })
    writeFileSync(join(others, name, 'precious'), 'data')
    writeFileSync(join(others, name, '0'), '')
    writeFileSync(join(others, name, 'vol_data.json'), '{}')
  }
  const all = (): string[] => readdirSync(others, { recursive: true, encoding: 'utf8' }).toSorted()
  const before = all()
  const outcomes: Record<string, unknown> = {}
  for (const place of [
    '',
    'volumes',
    'volumes/kubernetes.io~empty-dir',
    'volumes/kubernetes.io~empty-dir/v',
    'volumes/kubernetes.io~csi',
    'volumes/kubernetes.io~csi/v',
    'volume-subpaths',
    'volume-subpaths/v',
    'volume-subpaths/v/c',
    'volumeDevices',
    'volumeDevices/kubernetes.io~csi',
  ]) {
    const rootDir = mkdtempSync(join(base, 'k-'))
    const link = join(rootDir, 'pods/uid', place)
    mkdirSync(dirname(link), { recursive: true })
    symlinkSync(others, link)
    outcomes[place] = [await message(tearDownPod(rootDir, 'uid')), readdirSync(join(rootDir, 'pods'))]
  }
  results['links'] = { outcomes, isWhole: JSON.stringify(all()) === JSON.stringify(before) }
}
{
  // The same where a sub path is to be bound.
  const outcomes: Record<string, unknown> = {}
  for (const place of ['volume-subpaths', 'volume-subpaths/v', 'volume-subpaths/v/c', 'volume-subpaths/v/c/0']) {
    const { rootDir, volume } = pod('empty-dir', 'inner')
    const others = mkdtempSync(join(base, 'others-'))
    const link = join(rootDir, 'pods/uid', place)
    mkdirSync(dirname(link), { recursive: true })
    symlinkSync(others, link)
    const path = { volumePath: volume, subPath: 'inner', index: 0 }
    const refused = await message(bindSubPath({ rootDir, podUid: 'uid', container: 'c', volume: 'v', ...path }))
    const left = [readdirSync(others), (await readMountInfo('self', { below: others })).length]
    outcomes[place] = [refused.replaceAll(/\/k-\w+/g, ''), ...left]
  }
  results['sub path links'] = outcomes
}
{
  const { rootDir } = pod('empty-dir')
  const at = join(rootDir, 'pods/uid/volume-subpaths/v/c')
  mkdirSync(join(at, '0'), { recursive: true })
  writeFileSync(join(at, '1'), '')
  bind(join(at, '0'))
  mount({ source: join(disk, 'deep/er/precious'), target: join(at, '1'), options: ['bind'] })
  results['sub paths'] = {
    after: await message(tearDownPod(rootDir, 'uid')),
    left: readdirSync(join(rootDir, 'pods')),
    whole: isWhole(),
  }
}
{
  const target = join(base, 'nfs')
  const plan = { kind: 'nfs', name: 'v', specName: 'v', server: '::1', path: '/none', readOnly: true } as const
  const refused = await message(setUpNfs({ ...plan, mountOptions: ['retry=0'] }, target, undefined))
  results['nfs refused'] = { refused: refused.split('\n').slice(0, 3), isThere: existsSync(target) }
}
{
  const [first, second] = ['uid-1', 'uid-2'].map((uid) =>
    join(base, 'k/pods', uid, 'volumes/kubernetes.io~local-volume/pv'),
  ) as [string, string]
  const plan = {
    kind: 'local',
    name: 'v',
    specName: 'pv',
    path: disk,
    fsType: '',
    volumeMode: 'Filesystem',
    mountOptions: [],
  } as const
  const told: string[] = []
  const context: LocalContext = {
    disks: createNodeDisks(join(base, 'k'), silentLogger),
    tell: ({ message: text }) => told.push(text),
    signal: undefined,
  }
  const setUp = async (target: string, fsGroup: number, readOnly = false): Promise<string> => {
    const owner = { spec: { containers: [], securityContext: { fsGroup } } }
    const bound = { claim: {}, volume: {}, readOnly }
    return message(setUpLocal({ ...plan, readOnly, bound }, target, owner, context))
  }
  const options = async (target: string): Promise<string | undefined> =>
    (await readMountInfo('self', { below: target }))[0]?.options.toSorted((a, b) => (a < b ? -1 : 1)).join()
  await setUp(first, 4321)
  const gids = [statSync(disk).gid]
  await setUp(second, 77)
  gids.push(statSync(disk).gid)
  const writable = await options(second)
  // As when the kubelet was killed between the two steps.
  await setUp(second, 77, true)
  // As when it was cut short while it gave the files to the group.
  const third = join(base, 'k/pods/uid-3/volumes/kubernetes.io~local-volume/pv-3')
  const own = join(base, 'own-disk')
  mkdirSync(own)
  const groups: number[] = []
  for (const signal of [AbortSignal.abort(new Error('gone')), undefined]) {
    const owner = { spec: { containers: [], securityContext: { fsGroup: 77 } } }
    const bound = { claim: {}, volume: {}, readOnly: false }
    const later = { ...plan, specName: 'pv-3', path: own, readOnly: false, bound }
    await message(setUpLocal(later, third, owner, { ...context, signal }))
    groups.push(statSync(own).gid)
  }
  unmount(third)
  const missing = await message(
    setUpLocal(
      { ...plan, path: join(base, 'none'), readOnly: false, bound: { claim: {}, volume: {}, readOnly: false } },
      first,
      {},
      context,
    ),
  )
  results['local'] = { gids, groups, told, readOnly: [writable, await options(second), await options(first)], missing }
  for (const target of [second, first]) unmount(target)
}
{
  const root = join(base, 'shared')
  const below = join(root, 'pods/below')
  mkdirSync(below, { recursive: true })
  bind(below)
  const facts = async (): Promise<unknown> => {
    const found = await readMountInfo('self', { below: root })
    return found.map(({ mountPoint, optionalFields }) => [mountPoint.slice(root.length), optionalFields.length > 0])
  }
  await shareRoot(root)
  const once = await facts()
  await shareRoot(root)
  results['shared'] = { once, twice: await facts(), whole: isWhole() && existsSync(join(below, 'deep/er/precious')) }
}
{
  /** Nobody serves it: what is asked of it waits until this is closed, and fails then. */
  const mountFuse = (target: string): number => {
    const fd = openSync('/dev/fuse', 'r+')
    const options = [`fd=${fd}`, 'rootmode=40000', 'user_id=0', 'group_id=0', 'allow_other']
    mount({ source: 'fuse', target, type: 'fuse', options })
    return fd
  }
  const dead = pod('csi', 'mount')
  const hung = pod('csi', 'mount')
  const own = join(base, 'own')
  mkdirSync(own)
  for (const target of [dead.target, own]) closeSync(mountFuse(target))
  const served = mountFuse(hung.target)
  const isDead = (): string => {
    try {
      return statSync(dead.target).isDirectory() ? 'answers' : ''
    } catch (error) {
      return (error as NodeJS.ErrnoException).code ?? ''
    }
  }
  results['fuse'] = {
    dead: isDead(),
    answer: await message(checkAnswers(hung.target, 300)),
    size: (await message(readVolumeApart(hung.target, AbortSignal.timeout(300)))).includes('timeout'),
    down: [await message(tearDownPod(hung.rootDir, 'uid')), await message(tearDownPod(dead.rootDir, 'uid'))],
    sdk: [
      await message(ensureTarget(own, 'folder')),
      await ensureMounted({ source: disk, target: own }),
      existsSync(join(own, 'deep/er/precious')),
      await ensureMounted({ source: disk, target: own }),
      await message(removeTarget(own)),
      existsSync(own),
      isWhole(),
    ],
    left: [readdirSync(join(hung.rootDir, 'pods')), readdirSync(join(dead.rootDir, 'pods'))],
    hung: hung.target.slice(base.length),
  }
  closeSync(served)
}
{
  // A machine whose mounts are shared, as systemd has them: what it mounts on a folder shows in each bind of it.
  const machine = join(base, 'machine')
  mkdirSync(machine)
  mount({ source: 'tmpfs', target: machine, type: 'tmpfs' })
  mount({ source: 'none', target: machine, options: ['shared'] })
  const usb = join(machine, 'data/usb')
  mkdirSync(usb, { recursive: true })
  const rootDir = join(machine, 'k')
  const plan = { kind: 'local', name: 'v', specName: 'pv', path: join(machine, 'data'), fsType: '' } as const
  const more = { volumeMode: 'Filesystem', mountOptions: [], readOnly: false } as const
  const bound = { claim: {}, volume: {}, readOnly: false }
  const context: LocalContext = {
    disks: createNodeDisks(rootDir, silentLogger),
    tell: () => {},
    signal: undefined,
  }
  const targetOf = (uid: string): string => join(rootDir, 'pods', uid, 'volumes/kubernetes.io~local-volume/pv')
  for (const uid of ['uid-1', 'uid-2']) await setUpLocal({ ...plan, ...more, bound }, targetOf(uid), {}, context)
  const path = { volume: 'h', volumePath: machine, subPath: 'data', index: 0 }
  await bindSubPath({ rootDir, podUid: 'uid-1', container: 'c', ...path })
  mount({ source: 'usb', target: usb, type: 'tmpfs' })
  // And somebody has all of it in an emptyDir.
  const inner = join(rootDir, 'pods/uid-1/volumes/kubernetes.io~empty-dir/v/all')
  mkdirSync(inner, { recursive: true })
  mount({ source: join(machine, 'data'), target: inner, options: ['rbind'] })
  writeFileSync(join(usb, 'precious'), '')
  const shown = (): string[] =>
    [usb, ...['uid-1', 'uid-2'].map((uid) => join(targetOf(uid), 'usb'))].map((at) => readdirSync(at).join())
  const before = shown()
  const outcome = await message(tearDownPod(rootDir, 'uid-1'))
  results['shared below'] = {
    before,
    outcome,
    host: readdirSync(usb),
    other: readdirSync(join(targetOf('uid-2'), 'usb')),
    left: [readdirSync(join(rootDir, 'pods')), await message(tearDownPod(rootDir, 'uid-2')), readdirSync(usb)],
  }
}
{
  // What a pod has mounted on its volume goes with it from where a disk is mounted for all pods.
  const rootDir = join(base, 'machine/k')
  const kept = join(rootDir, 'plugins/kubernetes.io/local-volume/mounts/pv')
  const target = join(rootDir, 'pods/uid/volumes/kubernetes.io~local-volume/pv')
  for (const folder of [kept, target]) mkdirSync(folder, { recursive: true })
  mount({ source: 'disk', target: kept, type: 'tmpfs' })
  mkdirSync(join(kept, 'inner'))
  mount({ source: kept, target, options: ['bind'] })
  mount({ source: 'inner', target: join(target, 'inner'), type: 'tmpfs' })
  const below = async (): Promise<number> => (await readMountInfo('self', { below: kept })).length
  const before = await below()
  results['of the pod'] = [before, await message(tearDownPod(rootDir, 'uid')), await below()]
  await createNodeDisks(rootDir, silentLogger).releaseUnused()
  results['disk'] = await below()
}
{
  // Folders of another pod, mounted in the place of the pod's own.
  const outcomes: Record<string, unknown> = {}
  for (const place of ['', 'volumes', 'volumes/kubernetes.io~empty-dir']) {
    const rootDir = mkdtempSync(join(base, 'k-'))
    const [other, own] = ['other', 'uid'].map((uid) => join(rootDir, 'pods', uid, place)) as [string, string]
    const precious = join(rootDir, 'pods/other/volumes/kubernetes.io~empty-dir/v/precious')
    for (const folder of [dirname(precious), own]) mkdirSync(folder, { recursive: true })
    writeFileSync(precious, '')
    mount({ source: other, target: own, options: ['bind'] })
    outcomes[place] = [
      await message(tearDownPod(rootDir, 'uid')),
      existsSync(precious),
      readdirSync(join(rootDir, 'pods')),
    ]
  }
  results['covered'] = outcomes
}
{
  const { volume } = pod('empty-dir')
  // As a removal left it that was cut short: deep in what it had moved up.
  mkdirSync(join(volume, '0.moved~', Array.from({ length: 100 }, (_, depth) => `d${depth}`).join('/')), {
    recursive: true,
  })
  results['cut short'] = [await message(removeTree(volume)), existsSync(volume)]
}
process.stdout.write(JSON.stringify(results))
