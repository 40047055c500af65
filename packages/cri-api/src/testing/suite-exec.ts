// Commands in containers, at once and over streams; ports of pods.
import { deepStrictEqual, match, ok, rejects, strictEqual } from 'node:assert/strict'
import { CriError } from '../errors.ts'
import { AttachRequest, type DeepPartial, ExecRequest, NamespaceMode, PortForwardRequest } from '../gen/runtime.ts'
import { type Checks, eventually, type ValidationRuntime } from './suite-checks.ts'
import { openPod, type TestPod } from './suite-pod.ts'

const exec = async ({ runtimeService }: ValidationRuntime, request: DeepPartial<ExecRequest>): Promise<string> =>
  (await runtimeService.exec(ExecRequest.fromPartial(request))).url

/** Asks for a page of a web server in the pod, as soon as it answers. */
async function page(runtime: ValidationRuntime, pod: TestPod, port: number): Promise<string> {
  return eventually(`port ${port} answers`, async () => {
    const request = PortForwardRequest.fromPartial({ podSandboxId: pod.id })
    const { url } = await runtime.runtimeService.portForward(request)
    const text = await runtime.streams.portForward(url, port, 'GET / HTTP/1.0\r\n\r\n')
    return text.includes('HTTP/') && text
  })
}

export const execChecks: Checks = {
  async 'ExecSync returns both outputs and the exit code'(runtime) {
    await using pod = await openPod(runtime)
    const id = await pod.run()
    strictEqual(await pod.output(id, 'echo', '-n', 'hello'), 'hello')
    const script = 'echo out; echo err >&2; exit 5'
    deepStrictEqual(await pod.result(id, 'sh', '-c', script), { exitCode: 5, stdout: 'out\n', stderr: 'err\n' })
  },
  async 'ExecSync of what is not there fails, and the container goes on'(runtime) {
    await using pod = await openPod(runtime)
    const id = await pod.run()
    await rejects(pod.result(id, '/no/such/program'), /no such file/i)
    strictEqual(await pod.output(id, 'echo', 'on'), 'on\n')
  },
  async 'ExecSync returns eight megabytes'(runtime) {
    await using pod = await openPod(runtime)
    const stdout = await pod.output(await pod.run(), 'head', '-c', String(8 << 20), '/dev/zero')
    strictEqual(stdout.length, 8 << 20)
  },
  async 'ExecSync past its time is DEADLINE_EXCEEDED, and the command is gone'(runtime) {
    await using pod = await openPod(runtime)
    const containerId = await pod.run()
    const cmd = ['sh', '-c', 'sleep 4321']
    await rejects(
      runtime.runtimeService.execSync({ containerId, cmd, timeout: 1n }),
      (error) => error instanceof CriError && error.code === 'DEADLINE_EXCEEDED',
    )
    const { stdout } = await pod.result(containerId, 'sh', '-c', 'ps | grep "sleep 432[1]"')
    strictEqual(stdout, '')
  },
  async 'ExecSync in a container that does not run fails'(runtime) {
    await using pod = await openPod(runtime)
    const created = await pod.create()
    const ended = await pod.run({ command: ['true'] })
    await pod.ended(ended)
    for (const id of [created, ended]) await rejects(pod.result(id, 'true'))
  },
  async 'Exec: output without terminal or input'(runtime) {
    await using pod = await openPod(runtime)
    const containerId = await pod.run()
    const cmd = ['sh', '-c', 'echo out; echo err >&2; exit 6']
    const url = await exec(runtime, { containerId, cmd, stdout: true, stderr: true })
    match(url, /^http:\/\/[^/]+\/exec\//)
    deepStrictEqual(await runtime.streams.exec(url, {}), { stdout: 'out\n', stderr: 'err\n', exitCode: 6 })
  },
  async 'Exec: input reaches the command, and its end too'(runtime) {
    await using pod = await openPod(runtime)
    const containerId = await pod.run()
    const url = await exec(runtime, { containerId, cmd: ['cat'], stdin: true, stdout: true, stderr: true })
    const answer = await runtime.streams.exec(url, { stdin: 'hello\n' })
    deepStrictEqual(answer, { stdout: 'hello\n', stderr: '', exitCode: 0 })
  },
  async 'Exec: a terminal with input'(runtime) {
    await using pod = await openPod(runtime)
    const containerId = await pod.run()
    const request = { containerId, cmd: ['sh', '-c', 'tty; echo hello'], stdin: true, stdout: true, tty: true }
    const { stdout, stderr } = await runtime.streams.exec(await exec(runtime, request), { tty: true })
    match(stdout, /^\/dev\/\S+\r\nhello\r\n$/)
    strictEqual(stderr, '')
  },
  async 'Attach: input and output of a shell, which ends with its input'(runtime) {
    await using pod = await openPod(runtime)
    const containerId = await pod.run({ command: ['/bin/sh'], stdin: true, stdinOnce: true })
    const request = { containerId, stdin: true, stdout: true, stderr: true }
    const { url } = await runtime.runtimeService.attach(AttachRequest.fromPartial(request))
    const out = await runtime.streams.attach(url, 'echo from-the-shell\n', 'from-the-shell\n')
    strictEqual(out, 'from-the-shell\n')
    strictEqual((await pod.ended(containerId)).exitCode, 0)
  },
  async 'Exec and Attach to a container that does not run fail'(runtime) {
    await using pod = await openPod(runtime)
    const containerId = await pod.create()
    await rejects(exec(runtime, { containerId, cmd: ['true'], stdout: true }))
    await rejects(runtime.runtimeService.attach(AttachRequest.fromPartial({ containerId, stdout: true })))
  },
  async 'PortForward reaches a server in the pod'(runtime) {
    await using pod = await openPod(runtime, { portMappings: [{ containerPort: 80 }] })
    await pod.run({ image: { image: runtime.image('web:1') }, command: [] })
    ok((await page(runtime, pod, 80)).endsWith('web page\n'))
  },
  async 'PortForward to a pod that is stopped fails'(runtime) {
    await using pod = await openPod(runtime)
    await runtime.runtimeService.stopPodSandbox({ podSandboxId: pod.id })
    const request = PortForwardRequest.fromPartial({ podSandboxId: pod.id, port: [80] })
    await rejects(runtime.runtimeService.portForward(request))
  },
  async 'PortForward reaches a server of a pod in the host network'(runtime) {
    const namespaceOptions = { network: NamespaceMode.NODE }
    const linux = { securityContext: { namespaceOptions } }
    await using pod = await openPod(runtime, { linux, portMappings: [{ containerPort: 12003 }] })
    const command = ['/bin/httpd', '-f', '-p', '12003', '-h', '/www']
    await pod.run({ image: { image: runtime.image('web:1') }, command, linux })
    ok((await page(runtime, pod, 12003)).endsWith('web page\n'))
  },
}
