// A machine of its own as far as the network goes, with nodelet on it: the rules, links and addresses of this machine
// stay as they are.
import { execFile, execFileSync, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { pinNamespaces, unpinNamespace } from '@nodelet/linux'

const root = resolve(import.meta.dirname, '..')
const command = [process.execPath, '--conditions=@nodelet/source', join(root, 'packages/node-agent/src/cli.ts')]

export interface Ran {
  code: number
  stdout: string
  stderr: string
}

export interface TestMachine extends AsyncDisposable {
  /** Everything of this machine is below. */
  readonly folder: string
  /** Flags that keep nodelet to this machine. */
  readonly flags: readonly string[]
  readonly kubeconfig: string
  /** Runs a program to its end, whatever its exit code is. */
  run(program: string, ...args: string[]): Promise<Ran>
  spawn(program: string, ...args: string[]): ChildProcess
  nodelet(...args: string[]): Promise<Ran>
  /** kubectl's output. @throws Error with what it said */
  kubectl(...args: string[]): Promise<string>
  kubectlWith(input: string, ...args: string[]): Promise<string>
  /** Starts `nodelet up` and waits until the node is ready. */
  up(...args: string[]): Promise<ChildProcess>
  /** The agent's log. */
  log(): string
}

/** How long one command may take, in milliseconds. */
const patienceMs = 60_000

export async function makeMachine(): Promise<TestMachine> {
  const folder = mkdtempSync(join(tmpdir(), 'nodelet-machine-'))
  const name = folder.slice(folder.lastIndexOf('-') + 1)
  const net = join(folder, 'net')
  const runDir = `/run/nodelet-${name}`
  const logFile = join(folder, 'agent.log')
  const kubeconfig = join(folder, 'state/cluster/admin.kubeconfig')
  pinNamespaces({ paths: { net } })
  const enter = (program: string, args: readonly string[]): string[] => [`--net=${net}`, '--', program, ...args]
  const ip = (...args: string[]): string => execFileSync('nsenter', enter('ip', args), { encoding: 'utf8' })
  ip('link', 'set', 'lo', 'up')
  // A network that leads nowhere: with its default route it looks like a machine's.
  ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'uplink')
  ip('address', 'add', '192.0.2.10/24', 'dev', 'eth0')
  for (const link of ['eth0', 'uplink']) ip('link', 'set', link, 'up')
  ip('route', 'add', 'default', 'via', '192.0.2.1')

  const flags = ['--root', join(folder, 'state'), '--run', runDir, '--cgroup-root', `/nodelet-${name}`]
  const env = { ...process.env, KUBECONFIG: kubeconfig, NO_COLOR: '1' }
  const children = new Set<ChildProcess>()
  const start = (program: string, ...args: string[]): ChildProcess => {
    const child = spawn('nsenter', enter(program, args), { env, stdio: ['ignore', 'pipe', 'pipe'] })
    children.add(child)
    child.once('exit', () => children.delete(child))
    return child
  }
  const run = async (program: string, ...args: string[]): Promise<Ran> => {
    try {
      const options = { env, timeout: patienceMs, maxBuffer: 64 * 1024 * 1024 }
      return { code: 0, ...(await promisify(execFile)('nsenter', enter(program, args), options)) }
    } catch (error) {
      const { code, stdout = '', stderr = '' } = error as { code?: unknown; stdout?: string; stderr?: string }
      return { code: typeof code === 'number' ? code : -1, stdout, stderr }
    }
  }
  const nodelet = async (...args: string[]): Promise<Ran> => run(command[0] ?? '', ...command.slice(1), ...args)
  const kubectl = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await run('kubectl', ...args)
    if (code !== 0) throw new Error(`kubectl ${args.join(' ')} ended with ${code}: ${stderr}${stdout}`)
    return stdout
  }

  return {
    folder,
    flags,
    kubeconfig,
    run,
    spawn: start,
    nodelet,
    kubectl,
    kubectlWith: async (input, ...args) => {
      const child = spawn('nsenter', enter('kubectl', args), { env, stdio: ['pipe', 'pipe', 'pipe'] })
      let said = ''
      for (const stream of [child.stdout, child.stderr])
        stream.on('data', (chunk: Buffer) => (said += chunk.toString()))
      child.stdin.end(input)
      const [code] = (await once(child, 'close')) as [number]
      if (code !== 0) throw new Error(`kubectl ${args.join(' ')} ended with ${code}: ${said}`)
      return said
    },
    up: async (...args) => {
      const child = start(...(command as [string, ...string[]]), 'up', ...flags, ...args)
      const started = Promise.withResolvers<void>()
      child.stderr?.on('data', (chunk: Buffer) => {
        appendFileSync(logFile, chunk)
        if (chunk.includes('"node started"')) started.resolve()
      })
      child.once('exit', (code) =>
        started.reject(new Error(`nodelet up ended with ${code}: ${readFileSync(logFile, 'utf8')}`)),
      )
      await started.promise
      return child
    },
    log: () => readFileSync(logFile, 'utf8'),
    [Symbol.asyncDispose]: async () => {
      for (const child of children) {
        child.kill('SIGKILL')
        await once(child, 'exit')
      }
      const { code, stdout, stderr } = await nodelet('reset', ...flags)
      unpinNamespace(net)
      rmSync(folder, { recursive: true, force: true })
      if (code !== 0) throw new Error(`reset ended with ${code}: ${stdout}${stderr}`)
    },
  }
}
