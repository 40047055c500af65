// The kernel's own NFS server, in a guest: told what it exports as exportfs and its daemons would tell it.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { mount, unmount } from '@nodelet/linux'

const unpacked = resolve(import.meta.dirname, '../../../../.nodelet/debian/nfs-common/sbin')
const control = '/proc/fs/nfsd'
const never = 2_147_483_647
const [noSubtreeCheck, noRootSquash, hasFsid] = [0x400, 0x40, 0x2000]

export interface NfsServer extends Disposable {
  /** It answers nothing any more. */
  stop(): void
  start(): void
}

/** Exports a folder as `127.0.0.1:/`, by NFSv4 alone. @throws Error where the kernel has no such server */
export function exportFolder(folder: string): NfsServer {
  execFileSync('modprobe', ['-a', '-q', '-d', '/run', 'nfsd', 'nfsv4'])
  if (!existsSync('/sbin/mount.nfs')) {
    mount({ source: 'helpers', target: '/usr/sbin', type: 'overlay', options: [`lowerdir=${unpacked}:/usr/sbin`] })
  }
  mkdirSync(control, { recursive: true })
  mount({ source: 'nfsd', target: control, type: 'nfsd' })
  const tell = (file: string, words: string): void => writeFileSync(file, `${words}\n`)
  const cache = (name: string, words: string): void => tell(`/proc/net/rpc/${name}/channel`, words)
  tell(join(control, 'versions'), '-2 -3 +4 +4.1 +4.2')
  // Without a place for what it remembers it would not hear of the end of grace.
  tell(join(control, 'nfsv4recoverydir'), '/run')
  const [client, anybody] = ['127.0.0.1', 65534]
  cache('auth.unix.ip', `nfsd ${client} ${never} ${client}`)
  cache(
    'nfsd.export',
    `${client} ${folder} ${never} ${noSubtreeCheck | noRootSquash | hasFsid} ${anybody} ${anybody} 0`,
  )
  // The root of what is exported has number 0.
  cache('nfsd.fh', `${client} 1 \\x00000000 ${never} ${folder}`)
  const server = {
    stop: () => tell(join(control, 'threads'), '0'),
    start() {
      tell(join(control, 'threads'), '2')
      // Nobody had anything open before.
      tell(join(control, 'v4_end_grace'), 'Y')
    },
  }
  server.start()
  return {
    ...server,
    [Symbol.dispose]() {
      server.stop()
      unmount(control)
    },
  }
}
