// The images that the validation suite runs, made from the machine's own busybox.
import { readFileSync } from 'node:fs'
import { makeImage } from '../registry.ts'
import type { TarEntry, TestImage, TestRegistry } from '../registry.ts'

const programs = (
  'sh sleep cat id ls kill ps ip hostname ping wget nc mount umount touch echo true test chmod readlink ' +
  'grep stat head tr dd df mkdir tty httpd sync'
).split(' ')

const passwd = `root::0:0::/:/bin/sh
nobody:x:65534:65534::/:/bin/false
www-data:x:33:33::/:/bin/false
default-user:x:1000:1000::/:/bin/sh
`
const group = `root:x:0:
www-data:x:33:
users:x:100:
default-user:x:1000:
group:x:50000:
group-defined-in-image:x:50000:default-user
`

const base = (): TarEntry[] => [
  ...['bin/', 'etc/', 'www/'].map((name) => ({ name, type: 'directory' as const, mode: 0o755 })),
  { name: 'tmp/', type: 'directory', mode: 0o1777 },
  { name: 'bin/busybox', mode: 0o755, content: readFileSync('/bin/busybox') },
  ...programs.map((name) => ({ name: `bin/${name}`, type: 'symlink' as const, linkname: 'busybox' })),
  { name: 'bin/masked', mode: 0o755, content: '#!/bin/sh\necho seen\n' },
  { name: 'etc/passwd', content: passwd },
  { name: 'etc/group', content: group },
  { name: 'www/index.html', content: 'web page\n' },
]

/** A layer over busybox that makes the image another one. */
const mark = (content: string | Buffer): TarEntry => ({ name: 'mark', content })

export async function pushImages(registry: TestRegistry): Promise<void> {
  const env = { Env: ['FROM=image'] }
  const layer = base()
  const push = async (name: string, image: TestImage): Promise<void> => registry.push(name, image)
  const busybox = await makeImage([layer], env)
  await push('busybox:1', busybox)
  // Small images for what is only pulled, named and removed: each differs from all others.
  const small = [
    'tagged:1',
    'tagged:2',
    'untagged:latest',
    'digested:1',
    'shared:1',
    'references:1',
    'filtered:1',
    'removed:1',
  ]
  for (const name of [...small, 'deadline:1', 'both:1', 'different:a', 'different:b', 'different:c']) {
    await push(name, await makeImage([[mark(name)]], {}))
  }
  for (const name of ['same', 'named']) {
    const image = await makeImage([[mark(name)]], {})
    for (const tag of ['a', 'b', 'c']) await push(`${name}:${tag}`, image)
  }
  const users = { uid: '1002', username: 'www-data', 'uid-group': '1003:group', 'username-group': 'www-data:100' }
  for (const [tag, User] of Object.entries(users)) await push(`user:${tag}`, await makeImage([layer], { User }))
  await push('entry:1', await makeImage([layer], { Entrypoint: ['/bin/echo', 'entry'], Cmd: ['cmd'] }))
  await push('web:1', await makeImage([layer], { Cmd: ['/bin/httpd', '-f', '-p', '80', '-h', '/www'] }))
  await push('inuse:1', await makeImage([layer, [mark('in use')]], {}))
  await push('signal:1', await makeImage([layer], { StopSignal: 'SIGUSR1' }))
  const data: TarEntry[] = [
    { name: 'data/', type: 'directory', mode: 0o755 },
    { name: 'data/seed', content: 'from the image\n', uid: 1000, gid: 1000 },
  ]
  await push('volume:1', await makeImage([layer, data], { Volumes: { '/data': {} } }))
  const su = { name: 'bin/su', mode: 0o4755, content: readFileSync('/bin/busybox') }
  await push('setuid:1', await makeImage([layer, [su]], {}))
  await push('big:1', await makeImage([[mark(Buffer.alloc(4 << 20, 'big '))]], {}))
}
