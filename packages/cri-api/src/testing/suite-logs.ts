// The log files of containers.
import { deepStrictEqual, match, rejects, strictEqual } from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { readFile, rename } from 'node:fs/promises'
import { type Checks, eventually } from './suite-checks.ts'
import { openPod } from './suite-pod.ts'

export const logChecks: Checks = {
  async 'lines carry time, stream and tag'(runtime) {
    await using pod = await openPod(runtime)
    const { id, logPath } = await pod.script('echo out; sleep 0.1; echo err >&2; sleep 0.1; echo -n rest')
    const [first = ''] = (await readFile(logPath, 'utf8')).split('\n')
    match(first, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}(Z|[+-]\d\d:\d\d) stdout F out$/)
    deepStrictEqual(await pod.log(id), ['stdout F out', 'stderr F err', 'stdout P rest'])
  },
  async 'a terminal logs to stdout'(runtime) {
    await using pod = await openPod(runtime)
    const { id } = await pod.script('echo out; echo err >&2', { tty: true })
    deepStrictEqual(
      (await pod.log(id)).map((line) => line.trimEnd()),
      ['stdout F out', 'stdout F err'],
    )
  },
  async 'a line longer than the runtime takes at once comes in parts'(runtime) {
    await using pod = await openPod(runtime)
    const { id } = await pod.script('head -c 40000 /dev/zero | tr "\\0" x; echo')
    const lines = await pod.log(id)
    strictEqual(lines.at(-1)?.startsWith('stdout F '), true)
    strictEqual(
      lines.slice(0, -1).every((line) => line.startsWith('stdout P ')),
      true,
    )
    strictEqual(lines.map((line) => line.slice('stdout F '.length)).join(''), 'x'.repeat(40_000))
  },
  async 'reopened after a rename: new lines go to a new file, none to the old'(runtime) {
    await using pod = await openPod(runtime)
    const containerId = await pod.run({ command: ['sh', '-c', 'while :; do echo line; sleep 0.05; done'] })
    const { logPath } = await pod.container(containerId)
    const count = async (path: string): Promise<number> =>
      existsSync(path) ? (await readFile(path, 'utf8')).split('\n').length - 1 : 0
    await eventually('there is a log', async () => (await count(logPath)) > 0)
    await rename(logPath, `${logPath}.old`)
    await runtime.runtimeService.reopenContainerLog({ containerId })
    strictEqual(existsSync(logPath), true)
    const old = await count(`${logPath}.old`)
    await eventually('the new log grows', async () => (await count(logPath)) > 3)
    strictEqual(await count(`${logPath}.old`), old)
  },
  async 'the log of a container that does not run is not reopened, nor made'(runtime) {
    await using pod = await openPod(runtime)
    const { id: containerId, logPath } = await pod.script('echo out')
    await rename(logPath, `${logPath}.old`)
    await rejects(runtime.runtimeService.reopenContainerLog({ containerId }))
    strictEqual(existsSync(logPath), false)
  },
  async 'stays when the container is removed'(runtime) {
    await using pod = await openPod(runtime)
    const { id: containerId, logPath } = await pod.script('echo out')
    await runtime.runtimeService.removeContainer({ containerId })
    match(await readFile(logPath, 'utf8'), / stdout F out\n$/)
  },
  async 'without a log path there is no log'(runtime) {
    await using pod = await openPod(runtime)
    const { exitCode, logPath } = await pod.script('echo out', { logPath: '' })
    deepStrictEqual([exitCode, logPath], [0, ''])
  },
}
