// Which ids the machine has for user namespaces; the program is a real one that answers as getsubids of shadow 4.13.
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, test } from 'vitest'
import { silentLogger } from '../src/log.ts'
import { type IdRange, subordinateIds } from '../src/pod/subordinate-ids.ts'

const usual = { first: 65_536, count: 655_360 }
let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'subids-'))
})
afterEach(async () => rm(folder, { recursive: true, force: true }))

async function ids(answer: string, options: { hasUser?: boolean; log?: typeof silentLogger } = {}): Promise<IdRange> {
  const { hasUser = true, log = silentLogger } = options
  const [program, passwd] = [join(folder, 'getsubids'), join(folder, 'passwd')]
  await writeFile(passwd, `root:x:0:0::/root:/bin/sh\n${hasUser ? 'kubelet:x:999:999::/:/usr/sbin/nologin\n' : ''}`)
  if (answer !== '') {
    await writeFile(program, `#!/bin/sh\n${answer}\n`)
    await chmod(program, 0o755)
  }
  return subordinateIds({ maxPods: 10, idsPerPod: 65_536, log, program, passwd })
}

it('the range of the user kubelet, which may be more than the pods need', async () => {
  const script = 'test "$*" = kubelet || test "$*" = "-g kubelet" || exit 3; echo "0: kubelet 131072 6553600"'
  expect(await ids(script)).toEqual({ first: 131_072, count: 6_553_600 })
})

it('the usual one without such a user, or without the program, which is told', async () => {
  expect(await ids('exit 3', { hasUser: false })).toEqual(usual)
  await rm(join(folder, 'getsubids'))
  const told: string[] = []
  const log = { ...silentLogger, warn: (_fields: object, message: string) => void told.push(message) }
  expect(await ids('', { log })).toEqual(usual)
  expect(told).toEqual(['getsubids (package uidmap) is not installed: user namespaces have the usual ids'])
})

test.each([
  ['echo "Error fetching ranges" >&2; exit 1', 'exit code 1: Error fetching ranges'],
  ['echo "0: kubelet 65536 655360"; echo "1: kubelet 6553600 655360"', 'must be one range'],
  ['echo "0: kubelet 0 655360"', 'the first must be a multiple of 65536, and not 0'],
  ['echo "0: kubelet 65537 655360"', 'the first must be a multiple of 65536, and not 0'],
  ['echo "0: kubelet 65536 655361"', 'must be a multiple of 65536'],
  ['echo "0: kubelet 65536 589824"', 'too few for 10 pods of 65536 each'],
  ['if [ $1 = -g ]; then echo "0: kubelet 65536 655360"; else echo "0: kubelet 131072 655360"; fi', 'must be the same'],
])('%s is refused', async (answer, message) => {
  await expect(ids(answer)).rejects.toThrow(message)
})
