// Containers for a program, without a daemon: pull an image, run a command in it, have its output.
import { createHash } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { CniError, cniCode } from '@nodelet/cni-plugins'
import type { Cni } from '@nodelet/cni-plugins'
import { unmountIfMounted } from '@nodelet/linux'
import { openRuntime } from '../daemon.ts'
import type { Runtime, RuntimeOptions } from '../daemon.ts'
import { openImages } from '../image/images.ts'
import type { Images, ImagesOptions, PullOptions } from '../image/images-api.ts'
import { runnerLabel } from './config.ts'
import type { RunOptions } from './config.ts'
import { startContainer } from './container.ts'
import type { RunEnd, RunningContainer, RunResult } from './container.ts'

export interface RunnerOptions
  extends Omit<ImagesOptions, 'root' | 'onProblem'>, Omit<Partial<RuntimeOptions>, 'images' | 'stateDir' | 'runDir'> {
  /** Images and state are kept below this folder. */
  root: string
  /** What a reboot may lose: a short path on a tmpfs. Default: below `/run`, named after `root`. */
  run?: string
}

export interface RunCommandOptions extends RunOptions {
  /** For the pull of an image that is not here. */
  auth?: PullOptions['auth']
  /** Of that pull. */
  onProgress?: PullOptions['onProgress']
  /** Kills the command. */
  signal?: AbortSignal
}

/** Runs containers. Disposing removes those that are left: no container outlives its runner. */
export interface Runner extends AsyncDisposable {
  readonly images: Images
  /** For all that CRI can do. */
  readonly runtime: Runtime
  /**
   * Runs a command to its end, in place of the image's own if one is given, and removes its container. An image that is
   * not here is pulled. A command that fails is no error: look at the exit code.
   */
  run(image: string, command?: readonly string[], options?: RunCommandOptions): Promise<RunResult & RunEnd>
  /** As `run`, without waiting for the end. */
  start(image: string, command?: readonly string[], options?: RunCommandOptions): Promise<RunningContainer>
}

/**
 * Opens a folder of images and containers for this process. What a process that was killed left running is removed.
 *
 * @throws Error when another process has the folder, or runc or conmon is not there.
 */
export async function openRunner(options: RunnerOptions): Promise<Runner> {
  const root = resolve(options.root)
  const runDir = options.run ?? `/run/nodelet-${createHash('sha256').update(root).digest('hex').slice(0, 8)}`
  const logs = join(root, 'logs')
  await using opening = new AsyncDisposableStack()
  const images = opening.use(await openImages({ ...options, root: join(root, 'images') }))
  // The images' lock says that the folder is this process's.
  if (options.run === undefined) opening.defer(async () => removeRunFolder(runDir))
  const stateDir = join(root, 'runtime')
  const runtime = opening.use(
    await openRuntime({ ...options, cni: options.cni ?? noNetwork, stateDir, runDir, images }),
  )
  const removeAll = async (): Promise<void> => {
    const { runtimeService } = runtime
    const { items } = await runtimeService.listPodSandbox({ filter: undefined })
    const ours = items.filter(({ labels }) => runnerLabel in labels)
    await Promise.all(ours.map(async ({ id }) => runtimeService.removePodSandbox({ podSandboxId: id })))
    await rm(logs, { recursive: true, force: true })
  }
  await removeAll()
  opening.defer(removeAll)
  const opened = opening.move()
  const start: Runner['start'] = async (image, command, { auth, onProgress, signal, ...rest } = {}) => {
    signal?.throwIfAborted()
    if (!images.resolve(image)) await images.pull(image, { auth, onProgress, signal })
    return startContainer(runtime, logs, { image, command, ...rest })
  }
  return {
    images,
    runtime,
    start,
    run: async (image, command, rest = {}) => {
      await using container = await start(image, command, rest)
      const end = await container.wait(rest.signal)
      return { ...end, ...(await container.output()) }
    },
    [Symbol.asyncDispose]: async () => opened.disposeAsync(),
  }
}

/** Nothing runs any more: a mount of the folder of namespaces upon itself is all that is left. */
async function removeRunFolder(folder: string): Promise<void> {
  unmountIfMounted(join(folder, 'ns'))
  await rm(folder, { recursive: true, force: true })
}

const missing = async (): Promise<never> => {
  throw new CniError(
    cniCode.tryAgain,
    "this runner has no network for pods: open it with `cni`, or use the machine's network",
  )
}

const noNetwork: Cni = {
  config: async () => ({ PluginDirs: [], PluginConfDir: '', PluginMaxConfNum: 0, Prefix: 'eth', Networks: [] }),
  status: missing,
  add: missing,
  del: async () => {},
  check: missing,
  gc: async () => {},
  close: () => {},
  [Symbol.dispose]: () => {},
}
