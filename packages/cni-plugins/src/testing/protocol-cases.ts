// What a plugin must say before it does anything.
import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict'
import { cniVersions } from '../libcni/versions.ts'
import { failed, newestOf, podOf, speaks } from './subject.ts'
import type { Cases } from './subject.ts'

/** A path where no namespace is: nothing may come so far as to look. */
const nowhere = '/nonexistent/netns'

export const protocolCases: Cases = {
  async 'VERSION needs no other variable and no input, and prints one line'({ run, versions }) {
    const { stdout, stderr, exitCode } = await run({ CNI_COMMAND: 'VERSION' }, '')
    deepStrictEqual([stderr, exitCode, stdout.split('\n').length], ['', 0, 2])
    const { cniVersion, supportedVersions } = JSON.parse(stdout) as Record<string, unknown>
    deepStrictEqual(supportedVersions, versions)
    strictEqual(cniVersion, cniVersions.at(-1))
  },
  async 'without a command it says on stderr what it is'({ run, config, versions }) {
    const { stdout, stderr, exitCode } = await run({}, '')
    deepStrictEqual([stdout, exitCode], ['', 0])
    match(stderr, new RegExp(`^CNI ${config.type} plugin`))
    ok(stderr.includes(`CNI protocol versions supported: ${versions.join(', ')}\n`))
  },
  async 'a command that it does not know is refused'(subject) {
    const { env, config } = podOf(subject, nowhere)
    const answer = await subject.run({ ...env, CNI_COMMAND: 'MOVE' }, config(newestOf(subject)))
    strictEqual(failed(answer, 4).msg, 'unknown CNI_COMMAND: MOVE')
  },
  async 'variables that are missing are named, in order'({ run }) {
    const missing: Record<string, string> = {
      ADD: 'CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH',
      CHECK: 'CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH',
      DEL: 'CNI_CONTAINERID,CNI_IFNAME,CNI_PATH',
      GC: 'CNI_PATH',
      STATUS: 'CNI_PATH',
    }
    for (const [command, names] of Object.entries(missing)) {
      const { msg } = failed(await run({ CNI_COMMAND: command }, '{}'), 4)
      strictEqual(msg, `required env variables [${names}] missing`)
    }
    const { msg } = failed(await run({ CNI_COMMAND: 'ADD', CNI_NETNS: nowhere, CNI_PATH: '' }, '{}'), 4)
    strictEqual(msg, 'required env variables [CNI_CONTAINERID,CNI_IFNAME,CNI_PATH] missing')
  },
  async 'input that is no JSON, or no object, is refused'(subject) {
    for (const stdin of ['', '{"name":', '[]', 'null']) {
      for (const command of ['ADD', 'DEL']) {
        failed(await subject.run({ ...podOf(subject, nowhere).env, CNI_COMMAND: command }, stdin), 6)
      }
    }
  },
  async 'a network without a name, or with a bad one, is refused'(subject) {
    const { env, config } = podOf(subject, nowhere)
    for (const name of [undefined, '', 'a/b']) {
      failed(await subject.run({ ...env, CNI_COMMAND: 'ADD' }, config(newestOf(subject), { name })), 7)
    }
  },
  async 'bad container IDs, names of links and arguments are refused'(subject) {
    const { env, config } = podOf(subject, nowhere)
    const bad = {
      CNI_CONTAINERID: ['/x', 'a b'],
      CNI_IFNAME: ['sixteen-letters-', 'éééééééé', '.', '..', 'a/b', 'a:b', 'a b'],
      CNI_ARGS: ['a', 'a=b=c'],
    }
    for (const [name, values] of Object.entries(bad)) {
      for (const value of values) {
        const all = { ...env, [name]: value, CNI_COMMAND: 'ADD' }
        failed(await subject.run(all, config(newestOf(subject))), 4)
      }
    }
  },
  async 'versions that it does not speak are refused with those that it does'(subject) {
    const { env, config } = podOf(subject, nowhere)
    const others = [...cniVersions, '7.7.7'].filter((version) => !subject.versions.includes(version))
    const known = subject.versions.map((version) => `"${version}"`).join(' ')
    for (const version of others) {
      const prevResult = undefined // which might not be there in that version
      const answer = await subject.run({ ...env, CNI_COMMAND: 'ADD' }, config(version, { prevResult }))
      const { msg, details } = failed(answer, 1)
      deepStrictEqual(
        [msg, details],
        ['incompatible CNI versions', `config is "${version}", plugin supports [${known}]`],
      )
    }
  },
  async 'commands that are younger than the network are refused'(subject) {
    const { env, config } = podOf(subject, nowhere)
    for (const [command, before] of Object.entries({ CHECK: '0.3.1', GC: '1.0.0', STATUS: '1.0.0' })) {
      if (!subject.versions.includes(before)) continue
      const { msg } = failed(await subject.run({ ...env, CNI_COMMAND: command }, config(before)), 1)
      strictEqual(msg, `config version does not allow ${command}`)
    }
  },
  async "the machine's own namespace is not a pod's"(subject) {
    const { env, config } = podOf(subject, subject.hostNetns)
    for (const command of ['ADD', 'DEL']) {
      failed(await subject.run({ ...env, CNI_COMMAND: command }, config(newestOf(subject))), 8)
    }
  },
  async 'CHECK without a result to check against is refused'(subject) {
    if (!speaks(subject, '0.4.0')) return
    const { env, config } = podOf(subject, nowhere)
    const stdin = config(newestOf(subject), { prevResult: undefined })
    failed(await subject.run({ ...env, CNI_COMMAND: 'CHECK' }, stdin), 7)
  },
}
