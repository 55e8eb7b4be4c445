// Runs one signature of a saved model, twice, through TensorFlow's C API alone, as a server or a binding for another
// language does.
//
//   run_saved_model MODEL INPUT OUTPUT [LIBRARY...]
//
// INPUT and OUTPUT name the signature's float32 tensors, such as serving_default_x:0; the input's has rank 4. Libraries
// are loaded first, in their order. The input is 0, 1, 2, 3, 4, 0, 1, ...; a size that the graph does not know is 2.
// What both runs compute goes to stdout, one element a line; an error goes to stderr, with exit code 1.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "tensorflow/c/c_api.h"

static void ExitUnlessOk(const TF_Status* status, const char* doing) {
  if (TF_GetCode(status) == TF_OK) return;
  fprintf(stderr, "%s: %s\n", doing, TF_Message(status));
  exit(1);
}

// The tensor of the graph with a name such as serving_default_x:0.
static TF_Output Find(TF_Graph* graph, const char* tensor) {
  char operation[256];
  TF_Output found = {NULL, 0};
  if (sscanf(tensor, "%255[^:]:%d", operation, &found.index) == 2) {
    found.oper = TF_GraphOperationByName(graph, operation);
  }
  if (found.oper == NULL) {
    fprintf(stderr, "%s is not in the graph\n", tensor);
    exit(1);
  }
  return found;
}

static TF_Tensor* MakeInput(TF_Graph* graph, TF_Output input, TF_Status* status) {
  int64_t sizes[4];
  TF_GraphGetTensorShape(graph, input, sizes, 4, status);
  ExitUnlessOk(status, "shape of the input");
  int64_t elements = 1;
  for (int i = 0; i < 4; ++i) {
    if (sizes[i] < 0) sizes[i] = 2;
    elements *= sizes[i];
  }
  TF_Tensor* tensor = TF_AllocateTensor(TF_FLOAT, sizes, 4, (size_t)elements * sizeof(float));
  float* values = TF_TensorData(tensor);
  for (int64_t i = 0; i < elements; ++i) values[i] = (float)(i % 5);
  return tensor;
}

int main(int argc, char** argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: %s MODEL INPUT OUTPUT [LIBRARY...]\n", argv[0]);
    return 2;
  }
  TF_Status* status = TF_NewStatus();
  for (int i = 4; i < argc; ++i) {
    TF_LoadLibrary(argv[i], status);  // stays loaded: TensorFlow cannot unregister an op
    ExitUnlessOk(status, argv[i]);
  }

  const char* tag = "serve";
  TF_SessionOptions* options = TF_NewSessionOptions();
  TF_Graph* graph = TF_NewGraph();
  TF_Session* session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], &tag, 1, graph, NULL, status);
  ExitUnlessOk(status, argv[1]);

  const TF_Output input = Find(graph, argv[2]);
  const TF_Output output = Find(graph, argv[3]);
  TF_Tensor* fed = MakeInput(graph, input, status);
  for (int run = 0; run < 2; ++run) {
    TF_Tensor* fetched = NULL;
    TF_SessionRun(session, NULL, &input, &fed, 1, &output, &fetched, 1, NULL, 0, NULL, status);
    ExitUnlessOk(status, argv[3]);
    const float* values = TF_TensorData(fetched);
    for (int64_t i = 0; i < TF_TensorElementCount(fetched); ++i) printf("%.9g\n", values[i]);
    TF_DeleteTensor(fetched);
  }

  TF_DeleteTensor(fed);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteGraph(graph);
  TF_DeleteSessionOptions(options);
  TF_DeleteStatus(status);
  return 0;
}
