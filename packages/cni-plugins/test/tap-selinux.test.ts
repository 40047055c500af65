// A kernel with SELinux on: the guest's, with a policy of the runtime's tests.
import { execFileSync } from 'node:child_process'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { mount } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { policySource } from '../../runtime-runc/test/selinux-policy.ts'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'
import { links, listOf, podNetwork, shown } from './reach.ts'

const label = 'system_u:system_r:container_t:s0'
let machine: TestMachine
const use = (selinuxContext: string): void => {
  const list = listOf({ type: 'tap', selinuxContext, multiQueue: true, owner: 42420, group: 42421 })
  writeFileSync(join(machine.folder, 'net.d/10-test.conflist'), JSON.stringify(list))
}

const path = process.env['PATH']
beforeEach(() => {
  machine = makeMachine({})
})
afterEach(() => {
  process.env['PATH'] = path
  machine[Symbol.dispose]()
})

function loadPolicy(): void {
  const fs = '/sys/fs/selinux'
  mount({ source: 'selinuxfs', target: fs, type: 'selinuxfs' })
  const [source, policy] = [join(machine.folder, 'policy.conf'), join(machine.folder, 'policy')]
  writeFileSync(source, policySource)
  const version = String(Math.min(33, Number(readFileSync(join(fs, 'policyvers'), 'utf8'))))
  execFileSync('checkpolicy', ['-M', '-U', 'allow', '-c', version, '-o', policy, source], { stdio: 'pipe' })
  writeFileSync(join(fs, 'load'), readFileSync(policy))
}

/** An `ip` that tells who runs it. */
function watchIp(): string {
  const said = join(machine.folder, 'label')
  const script = `#!/bin/sh\ncat /proc/self/attr/current >> ${said}\nPATH=${path} exec ip "$@"\n`
  writeFileSync(join(machine.folder, 'bin/ip'), script)
  chmodSync(join(machine.folder, 'bin/ip'), 0o755)
  process.env['PATH'] = `${join(machine.folder, 'bin')}:${path}`
  return said
}

test.runIf(process.env['UML'])('a tap is made by a program of the label', async () => {
  loadPolicy()
  const said = watchIp()
  use(label)
  const one = podNetwork(machine, 'one')
  await machine.cni.add(one)
  expect(readFileSync(said, 'utf8').replaceAll('\0', '')).toBe(label)
  const [eth0] = shown<{ linkinfo: { info_data: object } }>(machine, one.netns, 'link', 'show', 'eth0')
  expect(eth0?.linkinfo.info_data).toMatchObject({ type: 'tap', persist: true, multi_queue: true })
  expect(machine.run(one.netns, 'cat', '/proc/self/attr/current')).not.toContain('container_t')
  await machine.cni.check(one)

  use('system_u:system_r:nobody_t:s0')
  const two = podNetwork(machine, 'two')
  await expect(machine.cni.add(two)).rejects.toThrow('EINVAL')
  expect(links(machine, two.netns)).toEqual([])
})

test.skipIf(process.env['UML'])('without SELinux a label is refused', async () => {
  use(label)
  await expect(machine.cni.add(podNetwork(machine, 'one'))).rejects.toMatchObject({
    code: 2,
    message: expect.stringContaining(`tap: selinuxContext: "${label}"`) as string,
  })
})
