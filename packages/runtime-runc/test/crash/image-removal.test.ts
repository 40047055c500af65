// A daemon that is killed at each step of removing an image, or what containers had of it.
import { expect, test } from 'vitest'
import { useImages } from './use-images.ts'

const at = useImages()

const removing = [
  'image/forgotten',
  'image/layer-forgotten',
  'image/layer-forgotten#2',
  'image/layer-removed',
  'image/blob-removed',
  'image/collected',
]
test.each(removing)('RemoveImage, killed at %s: it is gone', async (point) => {
  await at.pull()
  await at.daemon.dieAt(point, async () => at.remove(at.name))
  expect(await at.idOf()).toBeUndefined()
  await at.daemon.expectState(at.before)
  await at.pull()
  await at.expectWhole('one')
})

const last = removing.filter((point) => point !== 'image/forgotten' && point !== 'image/blob-removed')
test.each(last)('the last container of a removed image, killed at %s: its layers go', async (point) => {
  await at.pull()
  const containerId = await at.daemon.run(at.pod, 'sleep 600', { image: { image: at.name } })
  await at.remove(at.name)
  expect(await at.daemon.exec(containerId, 'cat /said')).toBe('one')
  await at.daemon.dieAt(point, async () => at.daemon.runtime.removeContainer({ containerId }))
  await at.daemon.runtime.removeContainer({ containerId })
  await at.daemon.expectState(at.before)
})
