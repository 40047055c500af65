// The proxy in IPVS mode: virtual servers, sets and rules in a kernel that has IPVS, and packets.
import { startProxier } from '@nodelet/proxy-rules'
import { openNetlink } from '@nodelet/linux'
import { describe, expect, test } from 'vitest'
import { clusterIP, eventually, useProxier } from './proxier-world.ts'
import { hostIP, podIPs, podIPv6s } from './small-host.ts'

describe.skipIf(!process.env.UML)('in the guest', () => {
  const world = useProxier({ mode: 'ipvs' })
  const { start, putService, putEndpoints } = world

  test('a cluster IP leads to all endpoints in turn; so does a node port', async () => {
    putService({ type: 'NodePort', ports: [{ port: 80, nodePort: 30080 }] })
    putEndpoints(['a', 'b'])
    setTimeout(() => console.log('TOLD', world.told.slice(0, 3)), 15000)
    await start()
    console.log(await world.host.run('ip', 'addr', 'show'), await world.host.run('cat', '/proc/net/ip_vs'), await world.host.rules(), await world.host.run('ipset', 'list'))
    for (const from of ['host', 'client', 'a'] as const) {
      const answers = await world.host.ask(from, 'tcp', `${clusterIP}:80`, 4)
      console.log(from, answers)
      console.log('np', await world.host.ask(from, 'tcp', `${hostIP}:30080`, 4))
    }
    console.log(world.told)
  })
})
