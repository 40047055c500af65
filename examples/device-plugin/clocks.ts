// A device plugin: offers two clocks as `example.com/clock`. Run it on a node, as root: node clocks.ts [FOLDER]
import { serveDevicePlugin } from '@nodelet/kubelet-core'

const [folder = '/var/lib/kubelet/device-plugins'] = process.argv.slice(2)
const stopped = Promise.withResolvers<void>()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopped.resolve())

await using _plugin = await serveDevicePlugin({
  resourceName: 'example.com/clock',
  folder,
  devices: ['east', 'west'].map((id) => ({ id, healthy: true, nodes: [] })),
  allocate: (ids) => ({
    envs: { CLOCKS: ids.join(',') },
    // A real plugin would name its own device here.
    devices: [{ containerPath: '/dev/clock', hostPath: '/dev/null', permissions: 'r' }],
  }),
  onError: (error) => console.error(`not registered: ${error.message}`),
})
console.log('offering example.com/clock')
await stopped.promise
