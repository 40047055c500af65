#!/usr/bin/env node
// The nodelet command. Each of its commands is loaded when it is given: what the others need would only be in memory.
import { realpathSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { proxyFlags } from '@nodelet/proxy-rules'
import type { Inquiry, ProxyFlag } from '@nodelet/proxy-rules'
import { Command, Option } from 'commander'
import type { image, ImageOptions } from './commands/image.ts'
import type { ProxyCommand } from './commands/proxy.ts'
import type { NodeConfig, NodeConfigInput } from './config.ts'
import { CommandError, ConfigError, Interrupted, messageOf } from './errors.ts'
import { partNames } from './parts.ts'
import type { Part } from './parts.ts'
import { version } from './version.ts'

interface Flags {
  config?: string
  root?: string
  rootDir?: string
  run?: string
  nodeName?: string
  nodeIp?: string[]
  parts?: string[]
  kubeconfig?: string
  bootstrapKubeconfig?: string
  apiPort?: string
  kubeletPort?: string
  serviceCidr?: string
  podCidr?: string
  cgroupRoot?: string
  proxyMode?: string
  proxyConfig?: string
  manifests?: string
  kubeletConfig?: string
  logLevel?: string
}

type Tail<T extends unknown[]> = T extends [unknown, ...infer Rest] ? Rest : never
type TraceFlags = Flags & { from?: string; interface?: string; protocol?: Inquiry['protocol']; json?: boolean }

const list = (text: string): string[] => text.split(',').filter((word) => word !== '')
const number = (text: string | undefined): number | undefined => (text === undefined ? undefined : Number(text))

const configOf = async (flags: Flags): Promise<NodeConfig> => {
  const { config, nodeIp, parts, apiPort, kubeletPort, proxyMode, logLevel, ...rest } = flags
  const input: { [K in keyof NodeConfigInput]: NodeConfigInput[K] | undefined } = {
    ...pickKnown(rest),
    nodeIPs: nodeIp,
    parts: parts as Part[] | undefined,
    apiPort: number(apiPort),
    kubeletPort: number(kubeletPort),
    proxyMode: proxyMode as NodeConfigInput['proxyMode'],
    logLevel: logLevel as NodeConfigInput['logLevel'],
  }
  const { readConfig } = await import('./config.ts')
  return readConfig(config, input as Partial<NodeConfigInput>)
}

const pickKnown = (flags: Flags): Partial<NodeConfigInput> => {
  const { root, rootDir: kubeletDir, run, nodeName, kubeconfig, bootstrapKubeconfig, serviceCidr, podCidr } = flags
  const { cgroupRoot, manifests, kubeletConfig, proxyConfig } = flags
  const joining = { kubeconfig, bootstrapKubeconfig, kubeletConfig, proxyConfig }
  const said = { root, kubeletDir, run, nodeName, ...joining, serviceCidr, podCidr, cgroupRoot, manifests }
  return Object.fromEntries(Object.entries(said).filter(([, value]) => value !== undefined))
}

const withPlaces = (command: Command): Command =>
  command
    .option('-c, --config <file>', 'NodeletConfiguration, YAML or JSON; flags override it')
    .option('--root <folder>', 'state (default: /var/lib/nodelet)')
    .option('--run <folder>', 'sockets and namespaces, a short path (default: /run/nodelet)')
    .option('--cgroup-root <path>', 'cgroup of all pods (default: /nodelet)')
    .option('--pod-cidr <cidr>', 'addresses of pods (default: 10.88.0.0/16)')
    .addOption(new Option('--log-level <level>').choices(['error', 'warn', 'info', 'debug']))

const withNode = (command: Command): Command =>
  withPlaces(command)
    .option('--node-name <name>', 'default: the host name')
    .option(
      '--node-ip <addresses>',
      'addresses of this node, separated by commas (default: of the default route)',
      list,
    )
    .option('--parts <names>', `which to run, separated by commas (default: ${partNames.join(',')})`, list)
    .option('--kubeconfig <file>', 'join this cluster instead of running one')
    .option('--bootstrap-kubeconfig <file>', 'asks for the certificate of the other one while that is not there')
    .option('--api-port <port>', 'the API server (default: 6443)')
    .option('--kubelet-port <port>', "the kubelet's HTTPS server (default: 10250)")
    .option('--service-cidr <cidr>', 'addresses of Services (default: 10.96.0.0/16)')
    .addOption(new Option('--proxy-mode <mode>', 'default: iptables').choices(['iptables', 'ipvs', 'nftables']))
    .option('--manifests <folder>', 'static pods (default: manifests below the root)')
    .option(
      '--root-dir <folder>',
      "the kubelet's own: /var/lib/kubelet for drivers that name it (default: kubelet below the root)",
    )
    .option('--kubelet-config <file>', 'KubeletConfiguration, YAML or JSON')
    .option('--proxy-config <file>', 'KubeProxyConfiguration, YAML or JSON')
    .option('--down', 'remove all pods at the end; without it containers keep running')

const onWords = ['true', '1', 't', 'T', 'TRUE', 'True']
const offWords = ['false', '0', 'f', 'F', 'FALSE', 'False']

/** Of a switch that may be said to be on or off, as Go's flags may. @throws ConfigError for any other word */
const isOn =
  (flag: string) =>
  (text: string): boolean => {
    if (!onWords.includes(text) && !offWords.includes(text))
      throw new ConfigError(`flags: --${flag}: Invalid value: ${JSON.stringify(text)}: must be true or false`)
    return onWords.includes(text)
  }

/** Of a flag with several values, what is said each time counts, as with Go's. */
const joined = (text: string, before: string | undefined): string => (before ? `${before},${text}` : text)
const severalValues: readonly string[] = ['list', 'gates', 'vmodule'] satisfies ProxyFlag['kind'][]
/** `-v=2` is how Go's flags may be written, too. */
const withoutSign = (text: string): string => text.replace(/^=/, '')

const withProxyFlags = (command: Command): Command => {
  command
    .option('--config <file>', 'KubeProxyConfiguration, YAML or JSON; flags override it')
    .option('--write-config-to <file>', 'write the configuration there, and end')
    .option('--cleanup [value]', 'remove all rules of all modes, and end', isOn('cleanup'))
    .option('--init-only [value]', 'set what needs all rights of root, and end', isOn('init-only'))
    .option('--master <url>', 'the API server, whatever the kubeconfig says')
  for (const { name, kind, help, deprecated } of proxyFlags) {
    const value = kind === 'bool' ? '[value]' : '<value>'
    const flags = name === 'v' ? `-v, --v ${value}` : `--${name} ${value}`
    const option = new Option(flags, help).hideHelp(deprecated !== undefined)
    if (severalValues.includes(kind)) option.argParser(joined)
    if (name === 'v') option.argParser(withoutSign)
    command.addOption(option)
  }
  return command
}

/** What commander has read, by the names that the flags have. */
function proxyCommandOf(options: Record<string, string | true>): ProxyCommand {
  const { config, writeConfigTo, cleanup, initOnly, master } = options as unknown as Omit<ProxyCommand, 'flags'>
  const said = proxyFlags.flatMap(({ name }): [string, string][] => {
    const value = options[new Option(`--${name}`).attributeName()]
    return value === undefined ? [] : [[name, value === true ? '' : value]]
  })
  return { config, writeConfigTo, cleanup, initOnly, master, flags: Object.fromEntries(said) }
}

async function runImage(flags: Flags, ...rest: Tail<Parameters<typeof image>>): Promise<void> {
  const { image } = await import('./commands/image.ts')
  await image(await configOf(flags), ...rest)
}

/** The command line. */
export function createCli(): Command {
  const cli = new Command('nodelet')
    .description('A Kubernetes node in one process: kubelet, service proxy, runtime, and a cluster of one machine.')
    .version(version, '-V, --version')
    .showHelpAfterError()
  withNode(cli.command('up').description('run the node until Ctrl-C; the log goes to standard error')).action(
    async (flags: Flags & { down?: boolean }) => {
      const { up } = await import('./commands/up.ts')
      await up(await configOf(flags), flags)
    },
  )
  withNode(cli.command('demo').description('run the node and show a web app on it'))
    .option('--once', 'end after the demo and remove what it made')
    .action(async (flags: Flags & { once?: boolean; down?: boolean }) => {
      const { demo } = await import('./commands/demo.ts')
      await demo(await configOf(flags), flags)
    })
  withPlaces(cli.command('reset').description('remove everything that nodelet made on this machine')).action(
    async (flags: Flags) => {
      const { reset } = await import('./commands/reset.ts')
      await reset(await configOf(flags))
    },
  )
  withPlaces(
    cli
      .command('trace <destination>')
      .description('what the rules do with a packet to NAMESPACE/SERVICE[:PORT] or ADDRESS:PORT'),
  )
    .option('--from <address>', 'the sender (default: this node)')
    .option('--interface <name>', 'where the packet comes in (default: by the address of the sender)')
    .addOption(new Option('--protocol <name>', "default: the Service's, or TCP").choices(['TCP', 'UDP', 'SCTP']))
    .option('--json', 'all that is known')
    .action(async (to: string, { from, interface: inputInterface, protocol, json, ...flags }: TraceFlags) => {
      const { trace } = await import('./commands/trace.ts')
      await trace(await configOf(flags), { to, from, inputInterface, protocol }, { json: json ?? false })
    })
  withProxyFlags(
    cli.command('proxy').description('the service proxy alone, with the flags of kube-proxy, until Ctrl-C'),
  ).action(async (options: Record<string, string | true>) => {
    const { proxy } = await import('./commands/proxy.ts')
    await proxy(proxyCommandOf(options))
  })
  const images = cli.command('image').description('the images of this node')
  withPlaces(images.command('pull <reference>').description('fetch from a registry')).action(
    async (reference: string, flags: Flags) => runImage(flags, { command: 'pull', reference }),
  )
  withPlaces(
    images
      .command('import <path>')
      .description('an OCI layout (folder or tar) or what docker save writes; - is standard input'),
  )
    .option('--name <reference>', 'call it so')
    .action(async (path: string, flags: Flags & { name?: string }) =>
      runImage(flags, {
        command: 'import',
        path,
        ...(flags.name !== undefined && { reference: flags.name }),
      }),
    )
  withPlaces(images.command('export <references...>').description('write images to a tar'))
    .requiredOption('-o, --output <file>', 'the tar')
    .addOption(new Option('--format <format>').choices(['oci', 'docker']).default('oci'))
    .action(async (references: string[], flags: Flags & { output: string; format: 'oci' | 'docker' }) =>
      runImage(flags, { command: 'export', references, path: flags.output, format: flags.format }),
    )
  withPlaces(images.command('inspect <reference>').description('what is known of one, as JSON')).action(
    async (reference: string, flags: Flags) => runImage(flags, { command: 'inspect', reference }),
  )
  withPlaces(images.command('ls').description('list'))
    .option('-q, --quiet', 'IDs alone')
    .addOption(new Option('-o, --output <format>').choices(['table', 'json']).default('table'))
    .action(async (flags: Flags & ImageOptions) => runImage(flags, { command: 'list' }, flags))
  withPlaces(images.command('rm <references...>').description('remove')).action(
    async (references: string[], flags: Flags) => runImage(flags, { command: 'remove', references }),
  )
  withPlaces(images.command('prune').description('remove what no container uses and no pattern pins'))
    .option('--dry-run', 'only tell what would go')
    .action(async (flags: Flags & { dryRun?: boolean }) =>
      runImage(flags, { command: 'prune', isDryRun: flags.dryRun ?? false }),
    )
  cli
    .command('version')
    .description('print the version')
    .action(() => console.log(`nodelet ${version}, node ${process.versions.node}`))
  return cli
}

/** Runs the command line and answers the exit code. */
export async function runCli(args: readonly string[]): Promise<number> {
  try {
    await createCli().parseAsync([...args], { from: 'user' })
    return 0
  } catch (error) {
    if (error instanceof Interrupted) {
      console.error(`✗ ${error.message}`)
      return error.exitCode
    }
    if (error instanceof CommandError) console.error(`✗ ${error.message}\n→ ${error.remedy}`)
    else if (error instanceof ConfigError)
      console.error(`✗ ${error.message}\n→ nodelet ${args[0] === 'proxy' ? 'proxy' : 'up'} --help tells what there is`)
    else console.error(`✗ ${process.env.NODELET_STACK ? ((error as Error).stack ?? '') : messageOf(error)}`)
    return 1
  }
}

/** How long what is still open may keep the process once its work is done, in milliseconds. */
const lingerMs = 2_000

/** The process: runs the command of its arguments, sets its exit code. */
export async function main(): Promise<void> {
  process.exitCode = await runCli(process.argv.slice(2))
  setTimeout(() => process.exit(), lingerMs).unref()
}

const isMain = process.argv[1] !== undefined && import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href
if (isMain) await main()
