// A kubelet that is brought no runtime connects to that of its configuration.
import { join } from 'node:path'
import { mkdir } from 'node:fs/promises'
import { serveCri } from '@nodelet/cri-api'
import { createMemoryRuntime, type MemoryRuntime } from '@nodelet/cri-api/testing'
import { expect, it } from 'vitest'
import { folder, memory, open, put, runningOf, useFixture, withAddresses } from './fixture.ts'

useFixture()

const without = { runtimeService: undefined, imageService: undefined }

const spec = { containers: [{ name: 'main', image: 'registry.example/web:1', imagePullPolicy: 'IfNotPresent' }] }

const request = { image: { image: 'registry.example/web:1' } } as never
const hasImage = async ({ imageService }: MemoryRuntime): Promise<boolean> =>
  (await imageService.imageStatus(request)).image !== undefined

it('the runtime at containerRuntimeEndpoint has the images, too', async () => {
  await mkdir(join(folder, 'manifests'))
  const socketPath = join(folder, 'runtime.sock')
  const runtimeService = withAddresses(memory)
  await using _ = await serveCri({ socketPath, runtimeService, imageService: memory.imageService, graceMs: 0 })
  await put('web', spec)
  const configuration = { containerRuntimeEndpoint: socketPath } // a path alone will do
  const kubelet = await open({ ...without, configuration })
  await runningOf(kubelet, 'web')
  await kubelet.close()
})

it('images are pulled by the service at imageServiceEndpoint', async () => {
  await mkdir(join(folder, 'manifests'))
  const images = createMemoryRuntime()
  const [runtimeAt, imagesAt] = [join(folder, 'runtime.sock'), join(folder, 'images.sock')]
  await using _runtime = await serveCri({ socketPath: runtimeAt, ...memory, graceMs: 0 })
  await using _images = await serveCri({ socketPath: imagesAt, ...images, graceMs: 0 })
  await put('web', spec)
  const configuration = { containerRuntimeEndpoint: `unix://${runtimeAt}`, imageServiceEndpoint: `unix://${imagesAt}` }
  const kubelet = await open({ ...without, configuration })
  await expect.poll(async () => hasImage(images)).toBe(true)
  expect(await hasImage(memory)).toBe(false)
  await kubelet.close()
})

it('an endpoint that nobody listens on ends the start, and one that is none is refused', async () => {
  const nobody = `unix://${join(folder, 'nobody.sock')}`
  await expect(open({ ...without, configuration: { containerRuntimeEndpoint: nobody } })).rejects.toThrow(
    /nobody\.sock/,
  )
  await expect(open({ ...without, configuration: { containerRuntimeEndpoint: 'tcp://a:1' } })).rejects.toThrow(
    'createKubelet: configuration: containerRuntimeEndpoint "tcp://a:1": must be unix:///absolute/path',
  )
})
