// Removes folders with mounts in them: run in a mount namespace of its own. Writes what came of each case as JSON.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { attachLoop, loopsOf, mount, readMountInfo } from '@nodelet/linux'
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

process.stdout.write(JSON.stringify(results))
