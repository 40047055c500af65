// What `nodelet-cni` does by the name that it is called by. Plugins are loaded one at a time: each call is a new process.
import type { DefinedPlugin } from '../sdk/define-plugin.ts'

const plugins: Readonly<Record<string, () => Promise<DefinedPlugin>>> = {
  bandwidth: async () => (await import('../plugins/bandwidth/bandwidth.ts')).bandwidth,
  bridge: async () => (await import('../plugins/bridge/bridge.ts')).bridge,
  dhcp: async () => (await import('../plugins/dhcp/dhcp.ts')).dhcp,
  dummy: async () => (await import('../plugins/dummy/dummy.ts')).dummy,
  'host-device': async () => (await import('../plugins/host-device/host-device.ts')).hostDevice,
  firewall: async () => (await import('../plugins/firewall/firewall.ts')).firewall,
  'host-local': async () => (await import('../plugins/host-local/host-local.ts')).hostLocal,
  ipvlan: async () => (await import('../plugins/ipvlan/ipvlan.ts')).ipvlan,
  loopback: async () => (await import('../plugins/loopback/loopback.ts')).loopback,
  macvlan: async () => (await import('../plugins/macvlan/macvlan.ts')).macvlan,
  portmap: async () => (await import('../plugins/portmap/portmap.ts')).portmap,
  static: async () => (await import('../plugins/static/static.ts')).staticIpam,
  ptp: async () => (await import('../plugins/ptp/ptp.ts')).ptp,
  tap: async () => (await import('../plugins/tap/tap.ts')).tap,
  vlan: async () => (await import('../plugins/vlan/vlan.ts')).vlan,
  sbr: async () => (await import('../plugins/sbr/sbr.ts')).sbr,
  tuning: async () => (await import('../plugins/tuning/tuning.ts')).tuning,
  vrf: async () => (await import('../plugins/vrf/vrf.ts')).vrf,
}

const usage = `Usage: nodelet-cni link FOLDER [NAME…]   links the plugins into a folder of CNI programs
       nodelet-cni NAME                 is the plugin of that name; so is a link of that name
       nodelet-cni dhcp daemon [OPTION…]  holds leases for the plugin dhcp
Plugins: ${Object.keys(plugins).join(', ')}
`

/** @param name by which the program was called */
export async function main(name: string, args: readonly string[]): Promise<void> {
  if (Object.hasOwn(plugins, name)) return runPlugin(name, args)
  const [command = '', folder, ...names] = args
  if (Object.hasOwn(plugins, command)) return runPlugin(command, args.slice(1))
  const unknown = names.find((one) => !Object.hasOwn(plugins, one))
  if (command !== 'link' || folder === undefined || unknown !== undefined) {
    process.stderr.write(unknown === undefined ? usage : `there is no plugin ${unknown}\n${usage}`)
    process.exitCode = command === '--help' ? 0 : 1
    return
  }
  const { linkPlugins } = await import('./link.ts')
  await linkPlugins(folder, names.length > 0 ? names : Object.keys(plugins))
}

async function runPlugin(name: string, args: readonly string[]): Promise<void> {
  if (name === 'dhcp' && args[0] === 'daemon') {
    const { runDaemon } = await import('../plugins/dhcp/daemon.ts')
    return runDaemon(args.slice(1))
  }
  const [plugin, { runExecutable }] = await Promise.all([plugins[name]?.(), import('../sdk/run-executable.ts')])
  if (plugin) await runExecutable(plugin, plugins)
}
