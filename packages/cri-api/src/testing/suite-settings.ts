// What a container is given: program, environment, resources, volumes of its image.
import { deepStrictEqual, match, strictEqual } from 'node:assert/strict'
import { LinuxContainerResources, Signal } from '../gen/runtime.ts'
import { type Checks, eventually, SuiteSkip } from './suite-checks.ts'
import { openPod } from './suite-pod.ts'

export const settingChecks: Checks = {
  async 'command and arguments replace the entry point and command of the image'(runtime) {
    await using pod = await openPod(runtime)
    const image = { image: runtime.image('entry:1') }
    const said = async (config: { command?: string[]; args?: string[] }): Promise<string[]> => {
      const id = await pod.run({ image, command: [], ...config })
      await pod.ended(id)
      return pod.log(id)
    }
    deepStrictEqual(await said({}), ['stdout F entry cmd'])
    deepStrictEqual(await said({ args: ['args'] }), ['stdout F entry args'])
    deepStrictEqual(await said({ command: ['/bin/echo', 'new'] }), ['stdout F new'])
    deepStrictEqual(await said({ command: ['/bin/echo'], args: ['both'] }), ['stdout F both'])
  },
  async 'environment and working directory: of the image, and over them what is asked'(runtime) {
    await using pod = await openPod(runtime)
    const envs = [{ key: 'ASKED', value: Buffer.from('a=b c') }]
    const plain = await pod.run()
    const asked = await pod.run({ envs: [...envs, { key: 'FROM', value: Buffer.from('us') }], workingDir: '/tmp' })
    const show = ['/bin/sh', '-c', 'echo "$FROM,$ASKED,$PWD"']
    strictEqual(await pod.output(plain, ...show), 'image,,/\n')
    strictEqual(await pod.output(asked, ...show), 'us,a=b c,/tmp\n')
  },
  async 'resources are set and show in the status, also after an update'(runtime) {
    await using pod = await openPod(runtime)
    const resources = { memoryLimitInBytes: 64n << 20n, cpuShares: 512n }
    const containerId = await pod.run({ linux: { resources } })
    const folder = '/sys/fs/cgroup'
    const limit = ['sh', '-c', `cat ${folder}/memory.max 2>/dev/null || cat ${folder}/memory/memory.limit_in_bytes`]
    const shown = async (): Promise<(bigint | undefined)[]> => {
      const { linux } = (await pod.container(containerId)).resources ?? {}
      return [linux?.memoryLimitInBytes, linux?.cpuShares]
    }
    deepStrictEqual(await shown(), [64n << 20n, 512n])
    strictEqual(await pod.output(containerId, ...limit), `${64 << 20}\n`)
    const linux = LinuxContainerResources.fromPartial({ cpuShares: 256n, memoryLimitInBytes: 96n << 20n })
    await runtime.runtimeService.updateContainerResources({ containerId, linux, windows: undefined, annotations: {} })
    deepStrictEqual(await shown(), [96n << 20n, 256n])
    strictEqual(await pod.output(containerId, ...limit), `${96 << 20}\n`)
  },
  async 'runs without any settings, and with a score for the OOM killer'(runtime) {
    await using pod = await openPod(runtime)
    await pod.output(await pod.run({ linux: undefined }), 'true')
    const { id } = await pod.script('cat /proc/self/oom_score_adj', { linux: { resources: { oomScoreAdj: 500n } } })
    deepStrictEqual(await pod.log(id), ['stdout F 500'])
  },
  async 'PATH has a default, TERM is there with a terminal'(runtime) {
    await using pod = await openPod(runtime)
    const show = 'echo "$PATH,$TERM"'
    const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
    for (const [tty, term] of [
      [false, ''],
      [true, 'xterm'],
    ] as const) {
      const { id } = await pod.script(show, { tty })
      deepStrictEqual(
        (await pod.log(id)).map((line) => line.trimEnd()),
        [`stdout F ${path},${term}`],
      )
    }
  },
  async 'status shows the stop signal: of the image, else SIGTERM'(runtime) {
    await using pod = await openPod(runtime)
    const signals = []
    for (const image of ['signal:1', 'busybox:1']) {
      const id = await pod.create({ image: { image: runtime.image(image) } })
      signals.push((await pod.container(id)).stopSignal)
    }
    if (signals.every((signal) => signal === Signal.RUNTIME_DEFAULT)) throw new SuiteSkip('status has no stop signal')
    deepStrictEqual(signals, [Signal.SIGUSR1, Signal.SIGTERM])
  },
  async 'stops with the signal of its image'(runtime) {
    const { runtimeService } = runtime
    await using pod = await openPod(runtime)
    const image = { image: runtime.image('signal:1') }
    const script = 'trap "exit 4" USR1; trap "exit 5" TERM; echo up; sleep 600 & wait'
    const containerId = await pod.run({ image, command: ['sh', '-c', script] })
    await eventually('the trap is set', async () => (await pod.log(containerId)).length > 0)
    await runtimeService.stopContainer({ containerId, timeout: 60n })
    strictEqual((await pod.container(containerId)).exitCode, 4)
  },
  async 'a volume of the image has its files and their owners, and is not shared'(runtime) {
    await using pod = await openPod(runtime)
    const image = { image: runtime.image('volume:1') }
    const [first, second] = [await pod.run({ image }), await pod.run({ image })]
    strictEqual(await pod.output(first, 'sh', '-c', 'cat /data/seed; stat -c %u /data/seed'), 'from the image\n1000\n')
    await pod.output(first, 'touch', '/data/new')
    strictEqual(await pod.output(second, 'ls', '/data'), 'seed\n')
    match(await pod.output(first, 'cat', '/proc/mounts'), / \/data /)
  },
}
