// Removes folders with mounts in them: run in a mount namespace of its own. Writes what came of each case as JSON.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { attachLoop, detachLoop, loopsOf, mount, readMountInfo } from '@nodelet/linux'
import { claimFolder, releaseFolders } from '../../src/kubelet-folder.ts'
import { removeFolders } from '../../src/remove-folders.ts'

const [base = ''] = process.argv.slice(2)
mount({ source: 'tmpfs', target: base, type: 'tmpfs' })
const results: Record<string, unknown> = {}

/** The data of a driver, elsewhere. */
const data = join(base, 'driver/volume')
mkdirSync(data, { recursive: true })
writeFileSync(join(data, 'precious'), 'data')
const bind = (target: string): void => {
  mkdirSync(target, { recursive: true })
  mount({ source: data, target, options: ['bind'] })
}
const mounts = async (): Promise<string[]> =>
  (await readMountInfo('self', { below: base })).map(({ mountPoint }) => mountPoint.slice(base.length)).filter(Boolean)
const facts = async (): Promise<unknown> => ({
  left: readdirSync(base).toSorted(),
  mounts: await mounts(),
  data: readFileSync(join(data, 'precious'), 'utf8'),
})
const target = 'kubelet/pods/uid/volumes/kubernetes.io~csi/pv/mount'

const root = join(base, 'state')
bind(join(root, target))
// A kubelet shares its folder over what is mounted there already.
mount({ source: join(root, 'kubelet'), target: join(root, 'kubelet'), options: ['rbind'] })
mount({ source: 'none', target: join(root, 'kubelet'), options: ['rshared'] })
bind(join(root, 'kubelet/plugins/kubernetes.io/csi/d/x/globalmount'))
const disk = join(root, 'kubelet/disk')
writeFileSync(disk, Buffer.alloc(1 << 20))
attachLoop(disk)
const hadLoop = loopsOf(disk).length
await removeFolders([root, join(base, 'never-made')])
await removeFolders([root])
results['mounts'] = { hadLoop, loops: loopsOf(disk), ...((await facts()) as object) }

const real = join(base, 'real')
bind(join(real, 'state', target))
symlinkSync(real, join(base, 'link'))
await removeFolders([join(base, 'link/state')])
results['behind a link'] = { inside: readdirSync(real), ...((await facts()) as object) }
symlinkSync(join(base, 'real'), join(base, 'direct'))
await removeFolders([join(base, 'direct')])
results['a link'] = existsSync(join(base, 'direct')) || existsSync(real)

mkdirSync(join(base, 'disk'))
mount({ source: 'tmpfs', target: join(base, 'disk'), type: 'tmpfs' })
mkdirSync(join(base, 'disk/kubelet'))
await removeFolders([join(base, 'disk')])
results['a mount itself'] = { inside: readdirSync(join(base, 'disk')), mounts: await mounts() }

const killed = join(base, 'killed')
mkdirSync(join(killed, 'kubelet/pods'), { recursive: true })
renameSync(join(killed, 'kubelet'), join(killed, 'kubelet.leaving~'))
await removeFolders([killed])
results['after a kill'] = existsSync(killed)

// The folder of a kubelet, elsewhere: somebody's files and disk are in it, and it is a mount of theirs itself.
const [node, elsewhere] = [join(base, 'node'), join(base, 'var/kubelet')]
mkdirSync(node)
mkdirSync(elsewhere, { recursive: true })
mount({ source: 'tmpfs', target: elsewhere, type: 'tmpfs' })
writeFileSync(join(elsewhere, 'config.yaml'), 'theirs')
bind(join(elsewhere, 'disk'))
const theirs = join(elsewhere, 'disk/image')
writeFileSync(theirs, Buffer.alloc(1 << 20))
attachLoop(theirs)
await claimFolder(node, elsewhere)
// As a kubelet does, which a kill ends, and which starts again.
mount({ source: elsewhere, target: elsewhere, options: ['rbind'] })
bind(join(elsewhere, 'pods/uid/volumes/kubernetes.io~csi/pv/mount'))
const ofPod = join(elsewhere, 'pods/uid/disk')
writeFileSync(ofPod, Buffer.alloc(1 << 20))
attachLoop(ofPod)
await claimFolder(node, elsewhere)
await releaseFolders(node)
await releaseFolders(node)
results['a folder of others'] = {
  inside: readdirSync(elsewhere).toSorted(),
  mounts: (await mounts()).filter((path) => path.startsWith('/var')),
  loops: [loopsOf(ofPod).length, loopsOf(theirs).length],
  data: readFileSync(join(elsewhere, 'disk/precious'), 'utf8'),
}
for (const loop of loopsOf(theirs)) detachLoop(loop)
await claimFolder(node, join(base, 'var/own'))
mount({ source: join(base, 'var/own'), target: join(base, 'var/own'), options: ['rbind'] })
bind(join(base, 'var/own', target))
await releaseFolders(node)
results['a folder of its own'] = readdirSync(join(base, 'var'))
await releaseFolders(join(base, 'never-made'))

// What the machine has mounted on a folder that a pod has as a volume, where mounts are shared.
for (const release of ['all', 'the kubelet’s folder']) {
  const machine = join(base, `machine ${release}`)
  mkdirSync(machine)
  mount({ source: 'tmpfs', target: machine, type: 'tmpfs' })
  mount({ source: 'none', target: machine, options: ['shared'] })
  const [usb, state, volume] = ['data/usb', 'state', join('state', target)].map((name) => join(machine, name)) as [
    string,
    string,
    string,
  ]
  mkdirSync(usb, { recursive: true })
  mkdirSync(state)
  if (release !== 'all') await claimFolder(machine, state)
  mkdirSync(volume, { recursive: true })
  mount({ source: join(machine, 'data'), target: volume, options: ['bind'] })
  mount({ source: 'usb', target: usb, type: 'tmpfs' })
  writeFileSync(join(usb, 'precious'), '')
  const before = readdirSync(join(volume, 'usb'))
  await (release === 'all' ? removeFolders([state]) : releaseFolders(machine))
  results[`shared: ${release}`] = [before, readdirSync(usb), existsSync(volume)]
}

process.stdout.write(JSON.stringify(results))
